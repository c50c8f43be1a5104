from functools import partial

import pytest
import torch
import torchvision
from torch import nn

import models
from attn.aff import AFF, IAFF
from models import Slots
from models.resnet import average_pool

CIFAR100 = {"num_classes": 100, "stem": "cifar", "image_size": 32}
AFF16, IAFF16 = partial(AFF, reduction=16), partial(IAFF, reduction=16)


def test_plain_net_is_torchvisions():
    theirs = torchvision.models.resnext50_32x4d().eval()
    ours = models.resnext50_32x4d().eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 65, 64)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))


def test_keys_of_101_are_torchvisions():
    with torch.device("meta"):
        theirs = torchvision.models.ResNet(
            torchvision.models.resnet.Bottleneck, [3, 4, 23, 3], groups=32, width_per_group=4
        ).state_dict()
        ours = models.resnext101_32x4d().state_dict()
    assert [(k, v.shape) for k, v in ours.items()] == [(k, v.shape) for k, v in theirs.items()]


@pytest.mark.parametrize(
    ("name", "fusion", "expected"),
    [
        ("aff_resnext29", models.Add, 4_868_004),
        ("aff_resnext29", AFF16, 5_934_468),
        ("aff_resnext38", models.Add, 6_348_196),
        ("aff_resnext38", AFF16, 7_770_148),
        ("aff_resnext47", models.Add, 7_828_388),
        ("aff_resnext47", AFF16, 9_605_828),
    ],
)
def test_affs_cifar_networks_have_the_published_number_of_parameters(
    parameters, name, fusion, expected
):
    net = getattr(models, name)(slots=Slots(fusion=fusion), **CIFAR100)
    assert parameters(net) == expected


@pytest.mark.parametrize(
    ("name", "fusion", "expected"),
    [
        ("resnet50", AFF16, 30_353_960),
        ("resnet50", IAFF16, 35_150_888),
        ("resnext50_32x4d", AFF16, 29_825_832),
        ("resnext50_32x4d", IAFF16, 34_622_760),
    ],
)
def test_affs_imagenet_networks_fuse_in_the_last_two_stages(parameters, name, fusion, expected):
    with torch.device("meta"):
        net = getattr(models, name)(slots=Slots(fusion=fusion, stages=[3, 4]))
    assert parameters(net) == expected
    assert type(net.layer2[0].fusion) is models.Add


def test_conv_slot_is_told_the_groups():
    seen = []

    def conv(*args):
        seen.append(args)
        return models.conv3x3(*args)

    models.resnext50_32x4d(slots=Slots(conv=conv))
    assert [seen[at] for at in (0, 3)] == [(128, 128, 1, 32), (256, 256, 2, 32)]
    assert {args[3] for args in seen} == {32}


def test_affs_shortcut_averages_what_it_leaves_out():
    block = models.aff_resnext29().layer2[0]
    assert isinstance(block.downsample[0], nn.AvgPool2d)
    assert block.downsample[1].stride == (1, 1)
    x = torch.arange(15.0).reshape(1, 1, 3, 5)
    expected = torch.tensor([[[[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]]])
    torch.testing.assert_close(average_pool(2)(x), expected)
