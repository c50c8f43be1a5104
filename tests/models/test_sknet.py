"""SKNet and EPSANet: ResNets whose conv slot holds SK or PSA."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import models
from attn.psa import PSA
from attn.se import SE
from attn.sk import SK
from models import SITES, ResNet, Slots
from models.sknet import SKUnit

# The authors' prototxt of SKNet-101 has 16 instead of 32 in its second stage.
SK101 = partial(SK, min_channels=(32, 16, 32, 32))
LARGE = partial(PSA, kernel_sizes=(3, 5, 5, 7))
SMALL = partial(ResNet, SKUnit, (2, 1), planes=(32, 64), expansion=2, num_classes=3, stem="cifar")


@pytest.mark.parametrize(
    ("name", "conv", "expected"),
    [
        ("sknet50", SK, 27_479_784),
        ("sknet101", SK101, 48_686_760),
        ("sknet101", SK, 48_736_040),
        ("resnet50", PSA, 22_561_715),
        ("resnet101", PSA, 38_900_279),
        ("resnext50_32x4d", LARGE, 27_899_518),
        ("resnext101_32x4d", LARGE, 49_592_198),
    ],
)
def test_published_number_of_parameters(parameters, name, conv, expected):
    with torch.device("meta"):
        net = getattr(models, name)(slots=Slots(conv=conv))
    assert parameters(net) == expected


@pytest.mark.parametrize(
    ("name", "conv", "gmacs"),
    [
        ("sknet50", SK, 4.463),  # 4.47 in the authors' README
        ("resnet50", PSA, 3.598),  # 3.620 with twice what the BNs read
        ("resnext50_32x4d", LARGE, 4.693),  # 4.722 with the same
    ],
)
def test_number_of_macs(name, conv, gmacs):
    with torch.device("meta"):
        net = getattr(models, name)(slots=Slots(conv=conv)).eval()
        with FlopCounterMode(display=False) as counter:
            net(torch.empty(1, 3, 224, 224))
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmacs, abs=5e-4)


@pytest.mark.parametrize("block", ["layer1.0", "layer2.0"])
def test_sites_of_a_block_stand_where_they_should(probe, record, block):
    net = SMALL(slots=Slots(probe, SITES, conv=SK)).eval()
    inputs, outputs = record(net, torch.randn(2, 3, 8, 8))
    assert torch.equal(inputs[f"{block}.conv2"][0], F.relu(outputs[f"{block}.bn1"]))
    assert torch.equal(inputs[f"{block}.prenorm"][0], outputs[f"{block}.conv2"])
    assert torch.equal(inputs[f"{block}.inner"][0], outputs[f"{block}.prenorm"])
    assert torch.equal(inputs[f"{block}.conv3"][0], outputs[f"{block}.inner"])
    assert torch.equal(inputs[f"{block}.branch"][0], outputs[f"{block}.bn3"])
    assert torch.equal(inputs[f"{block}.identity"][0], outputs[f"{block}.downsample"])
    total = outputs[f"{block}.identity"] + outputs[f"{block}.branch"]
    assert torch.equal(inputs[f"{block}.post"][0], F.relu(total))
    assert torch.equal(outputs[block], outputs[f"{block}.post"])


def test_one_seed_is_one_backbone():
    states = []
    for slots in (Slots(), Slots(conv=SK), Slots(SE, SITES, conv=SK)):
        torch.manual_seed(0)
        states.append(SMALL(slots=slots).state_dict())
    plain = {key for key in states[0] if ".conv2." not in key}
    for state in states[1:]:
        assert all(torch.equal(state[key], states[0][key]) for key in plain)


def test_it_is_resnext_but_for_the_middle():
    with torch.device("meta"):
        ours = models.sknet50(slots=Slots(conv=SK)).state_dict()
        theirs = models.resnext50_32x4d().state_dict()
    middle = (".conv2.", ".bn2.")
    kept = [[k for k in state if not any(m in k for m in middle)] for state in (ours, theirs)]
    assert kept[0] == kept[1]
    assert not any(".bn2." in key for key in ours)


def test_every_parameter_learns():
    torch.manual_seed(0)
    net = SMALL(slots=Slots(conv=SK))
    net(torch.randn(8, 3, 8, 8)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if not p.grad.any()] == []
