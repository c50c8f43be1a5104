import pytest
import torch
from torch import nn

import attn
from engine.complexity import cost
from models import Slots, resnet18, resnet50


def test_a_convolution_by_hand():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8))
    counted = cost(net, 10)
    assert counted.macs == 5 * 5 * 8 * 3 * 9
    assert counted.params == 8 * 3 * 9 + 8 + 16
    assert counted.elements == 5 * 5 * 8  # the elements that the BN reads


@pytest.mark.parametrize(("make", "published"), [(resnet18, 1.814e9), (resnet50, 4.0892e9)])
def test_published_counts_of_imagenet_networks(make, published):
    assert cost(make(), 224).macs == pytest.approx(published, rel=2e-4)


def test_counting_leaves_the_network_alone():
    net = resnet18(num_classes=10, stem="cifar", slots=Slots(attn.NAM, ["branch"]))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    cost(net.train(), 32)
    assert net.training
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())
    assert next(net.parameters()).device == torch.device("cpu")


def test_what_a_gate_adds_is_element_wise_work():
    plain = cost(resnet18(num_classes=10, stem="cifar"), 32)
    gated = cost(resnet18(num_classes=10, stem="cifar", slots=Slots(attn.NAM, ["branch"])), 32)
    maps = 2 * (64 * 32**2 + 128 * 16**2 + 256 * 8**2 + 512 * 4**2)
    weights = 2 * (64 + 128 + 256 + 512)
    assert gated.macs == plain.macs
    # a BN, a sigmoid and a product over each map; |γ|, its sum, a quotient and two products
    assert gated.elements - plain.elements == 3 * maps + 5 * weights + 8
