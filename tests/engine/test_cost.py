import pytest
import torch
from torch import nn

import attn
from engine.cost import macs, params
from models import Slots, resnet18, resnet50


def test_a_convolution_by_hand():
    net = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8))
    assert macs(net, 10) == 5 * 5 * 8 * 3 * 9
    assert params(net) == 8 * 3 * 9 + 8 + 16


@pytest.mark.parametrize(("make", "published"), [(resnet18, 1.814e9), (resnet50, 4.0892e9)])
def test_published_counts_of_imagenet_networks(make, published):
    assert macs(make(), 224) == pytest.approx(published, rel=2e-4)


def test_counting_leaves_the_network_alone():
    net = resnet18(num_classes=10, stem="cifar", slots=Slots(attn.NAM, ["branch"]))
    before = {name: value.clone() for name, value in net.state_dict().items()}
    macs(net.train(), 32)
    assert net.training
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())
    assert next(net.parameters()).device == torch.device("cpu")


def test_element_wise_gates_are_free_by_this_count():
    plain = macs(resnet18(num_classes=10, stem="cifar"), 32)
    gated = resnet18(num_classes=10, stem="cifar", slots=Slots(attn.NAM, ["branch"]))
    assert macs(gated, 32) == plain
