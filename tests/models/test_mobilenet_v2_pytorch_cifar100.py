from functools import partial

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import attn
import models
from models import SITES, Slots

NET = partial(models.mobilenet_v2_pytorch_cifar100, num_classes=100, stem="cifar", image_size=32)


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        (nn.Identity, 2_369_380),
        (attn.SE, 2_399_393),
        (attn.CBAM, 2_401_093),
        (attn.NAM, 2_372_388),
        (attn.Triplet, 2_374_480),
    ],
)
def test_number_of_parameters(parameters, factory, expected):
    assert parameters(NET(slots=Slots(factory, ["branch"]))) == expected


def test_number_of_macs():
    net = NET().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 32, 32))
    assert counter.get_total_flops() / 2e9 == pytest.approx(0.0649, abs=5e-5)


def test_every_convolution_has_a_bias_and_the_stem_pads(record):
    net = NET()
    assert all(m.bias is not None for m in net.modules() if isinstance(m, nn.Conv2d))
    _, outputs = record(net, torch.randn(2, 3, 32, 32))
    sizes = [outputs[f"features.{i}"].shape[2] for i in (0, 1, 2, 4, 7, 11, 14, 17)]
    assert sizes == [34, 34, 17, 9, 5, 5, 5, 5]
    assert len(net.features[1].conv) == 4  # the first block has an expansion by 1


def test_told_channels_and_size_are_those_of_the_map(probe):
    net = NET(slots=Slots(probe, SITES)).eval()
    net(torch.randn(1, 3, 32, 32))
    probes = [m for m in net.modules() if isinstance(m, probe)]
    assert [(m.told[0], m.told[2]) for m in probes] == [m.met[0] for m in probes]


def test_a_conv_that_knows_no_bias_gets_none():
    def conv(in_planes, planes, stride, groups):
        return nn.Conv2d(in_planes, planes, 3, stride, 1, groups=groups, bias=False)

    net = NET(slots=Slots(conv=conv))
    assert net.features[1].conv[1][0].bias is None


def test_its_other_stem_is_the_papers(parameters):
    biases = sum(m.out_channels for m in NET().modules() if isinstance(m, nn.Conv2d))
    expansion = 32 * 32 + 2 * 32  # the first block's expansion by 1, and its BN
    ours = models.mobilenet_v2_pytorch_cifar100()
    assert parameters(ours) == parameters(models.MobileNetV2()) + biases + expansion


def test_one_seed_is_one_backbone():
    torch.manual_seed(0)
    plain = NET().state_dict()
    torch.manual_seed(0)
    state = NET(slots=Slots(attn.CBAM, SITES)).state_dict()
    assert all(torch.equal(state[key], plain[key]) for key in plain)


def test_every_parameter_learns():
    """A bias before a BN gets a gradient by rounding alone, because the mean removes it."""
    torch.manual_seed(0)
    net = NET(num_classes=3, width_mult=0.25)
    net(torch.randn(8, 3, 16, 16)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if not p.grad.any()] == []
