from functools import partial
from itertools import pairwise

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import attn
from models import SITES, Add, MobileNetV2, Slots, conv3x3

# 10 of 17 blocks have a shortcut; 4 stages
PLACES = {
    "prenorm": 17, "inner": 17, "branch": 17, "identity": 10, "post": 17, "stage": 3, "head": 1,
}  # fmt: skip
SMALL = partial(MobileNetV2, num_classes=3, stem="cifar", width_mult=0.5)


def test_plain_net_is_torchvisions(parameters):
    theirs = torchvision.models.mobilenet_v2().eval()
    ours = MobileNetV2().eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 65, 64)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))
    assert parameters(ours) == 3_504_872


@pytest.mark.parametrize("width_mult", [0.35, 0.5, 0.75, 1.4])
def test_width_is_rounded_as_torchvision_does(width_mult):
    theirs = torchvision.models.mobilenet_v2(width_mult=width_mult).state_dict()
    ours = MobileNetV2(width_mult=width_mult).state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        (attn.NAM, 3_507_880),
        (attn.CBAM, 3_536_585),
        (attn.Triplet, 3_509_972),
        (lambda channels: attn.ECA(channels, 1 if channels < 96 else 3), 3_504_903),
        (attn.Half, 3_504_872),
        (attn.Scalar, 3_504_872 + 17),
    ],
)
def test_published_number_of_parameters(parameters, factory, expected):
    assert parameters(MobileNetV2(slots=Slots(attn=factory, sites=["branch"]))) == expected


@pytest.mark.parametrize(
    ("stem", "num_classes", "image_size", "mmacs"),
    [
        ("cifar", 100, 32, 88.09),  # chenyaofo/pytorch-cifar-models
        ("cifar", 10, 32, 87.98),  # the same
        ("imagenet", 1000, 224, 300.77),  # 300 in the paper's Table 4
    ],
)
def test_published_number_of_macs(stem, num_classes, image_size, mmacs):
    net = MobileNetV2(num_classes, stem, image_size).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, image_size, image_size))
    assert counter.get_total_flops() / 2e6 == pytest.approx(mmacs, abs=0.005)


@pytest.mark.parametrize("site", SITES)
def test_each_site_is_called_as_often_as_there_are_places(probe, calls, site):
    assert calls(SMALL(slots=Slots(probe, [site])), 16) == {site: PLACES[site]}


@pytest.mark.parametrize("block", [f"features.{i}" for i in (1, 2, 3)])
def test_sites_of_a_block_stand_where_they_should(probe, record, block):
    """Block 1 has no expansion, block 2 no shortcut, block 3 has both."""
    net = SMALL(slots=Slots(probe, SITES)).eval()
    inputs, outputs = record(net, torch.randn(2, 3, 8, 8))
    convs = max(int(name.split(".")[3]) for name in outputs if name.startswith(f"{block}.conv."))
    depthwise = f"{block}.conv.{convs - 2}"
    assert torch.equal(inputs[f"{depthwise}.inner"][0], outputs[f"{depthwise}.1"].clamp(0, 6))
    assert torch.equal(inputs[f"{block}.conv.{convs - 1}"][0], outputs[f"{depthwise}.inner"])
    assert torch.equal(inputs[f"{block}.branch"][0], outputs[f"{block}.conv.{convs}"])
    total = outputs[f"{block}.branch"]
    if block == "features.3":
        assert torch.equal(inputs[f"{block}.identity"][0], inputs[block][0])
        total = outputs[f"{block}.identity"] + total
    assert torch.equal(inputs[f"{block}.post"][0], total)
    assert torch.equal(outputs[block], outputs[f"{block}.post"])


def test_sites_of_the_net_stand_where_they_should(probe, record):
    net = SMALL(slots=Slots(probe, ["stage", "head"])).eval()
    inputs, outputs = record(net, torch.randn(2, 3, 16, 16))
    names = [name for name, _ in net.features.named_children()]
    assert [names.index(f"stage{i}") for i in (1, 2, 3)] == [4, 8, 16]
    for before, after in pairwise(names):
        assert torch.equal(inputs[f"features.{after}"][0], outputs[f"features.{before}"])
    assert torch.equal(inputs["head"][0], outputs["features"])
    assert torch.equal(inputs["classifier"][0], outputs["head"].mean((2, 3)))


@pytest.mark.parametrize("site", SITES)
def test_backbones_keys_do_not_depend_on_attention(site):
    plain = MobileNetV2().state_dict()
    net = MobileNetV2(slots=Slots(attn.NAM, [site])).state_dict()
    assert [key for key in net if key in plain] == list(plain)
    assert all(net[key].shape == plain[key].shape for key in plain)
    assert len(net) == len(plain) + 5 * PLACES[site]


def test_fusion_conv_and_norm_are_used_where_they_should(counting):
    fusion, fused = counting(Add)
    conv, convolved = counting(conv3x3)
    norm, normed = counting(nn.BatchNorm2d)
    net = SMALL(slots=Slots(fusion=fusion, conv=conv, norm=norm))
    net(torch.randn(2, 3, 8, 8))
    assert fused == {"built": 10, "called": 10}
    assert convolved == {"built": 17, "called": 17}
    assert normed["called"] == 52


def test_conv_slot_is_depthwise():
    seen = []

    def conv(*args, **options):
        seen.append((*args, *options.values()))
        return conv3x3(*args, **options)

    MobileNetV2(slots=Slots(conv=conv))
    assert all(i == o == groups for i, o, _, groups in seen)
    assert [stride for _, _, stride, _ in seen].count(2) == 4


def test_unknown_stem_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="stem=mnist: choose from imagenet, cifar"):
        MobileNetV2(stem="mnist")


def test_a_width_of_nothing_is_refused():
    with pytest.raises(ValueError, match="width_mult must be positive, got -1"):
        MobileNetV2(width_mult=-1)


def test_every_parameter_learns():
    torch.manual_seed(0)
    net = SMALL()
    net(torch.randn(8, 3, 16, 16)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if not p.grad.any()] == []
