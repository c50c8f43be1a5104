"""ResNet-83 and -164, the networks of SEM, IEBN and DIA."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import models
from attn.ie import IEBN
from attn.se import SE
from attn.sem import SEM
from models import SITES, Slots

CIFAR100 = {"num_classes": 100, "stem": "cifar", "image_size": 32}


@pytest.mark.parametrize(
    ("name", "num_classes", "slots", "expected"),
    [
        ("resnet83", 10, Slots(), 869_530),
        ("resnet83", 100, Slots(), 892_660),
        ("resnet83", 100, Slots(SEM, ["branch"]), 1_014_070),
        ("resnet164", 10, Slots(), 1_704_154),
        ("resnet164", 100, Slots(), 1_727_284),
        ("resnet164", 100, Slots(SE, ["branch"]), 1_929_388),
        ("resnet164", 100, Slots(SEM, ["branch"]), 1_970_104),
        ("resnet164", 100, Slots(norm=IEBN), 1_751_508),
    ],
)
def test_published_number_of_parameters(parameters, name, num_classes, slots, expected):
    net = getattr(models, name)(num_classes=num_classes, slots=slots)
    assert parameters(net) == expected


def test_published_number_of_macs():
    net = models.resnet164(**CIFAR100).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 32, 32))
    assert counter.get_total_flops() / 2e9 == pytest.approx(0.2477, abs=5e-5)


def test_it_has_so_many_layers():
    for name, depth in (("resnet83", 83), ("resnet164", 164)):
        layers = [
            key
            for key, m in getattr(models, name)().named_modules()
            if isinstance(m, nn.Conv2d | nn.Linear) and "downsample" not in key
        ]
        assert len(layers) == depth


@pytest.mark.parametrize("block", ["layer1.0", "layer3.1"])
def test_prenorm_is_between_the_middle_convolution_and_its_norm(probe, record, block):
    net = models.resnet83(num_classes=3, slots=Slots(probe, SITES)).eval()
    inputs, outputs = record(net, torch.randn(2, 3, 8, 8))
    assert torch.equal(inputs[f"{block}.prenorm"][0], outputs[f"{block}.conv2"])
    assert torch.equal(inputs[f"{block}.bn2"][0], outputs[f"{block}.prenorm"])
    assert torch.equal(inputs[f"{block}.inner"][0], F.relu(outputs[f"{block}.bn2"]))
    assert torch.equal(inputs[f"{block}.conv3"][0], outputs[f"{block}.inner"])


def test_shortcuts_are_projections_where_a_stage_begins():
    net = models.resnet83()
    projected = [name for name, m in net.named_modules() if name.endswith("downsample.0")]
    assert projected == [f"layer{stage}.0.downsample.0" for stage in (1, 2, 3)]
    strides = [net.get_submodule(name).stride for name in projected]
    assert strides == [(1, 1), (2, 2), (2, 2)]
