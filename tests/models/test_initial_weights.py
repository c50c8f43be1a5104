"""The distribution of each layer's initial weights."""

import math
from functools import partial

import pytest
import torch
import torchvision
from torch import nn
from torchvision.models import resnet as theirs

import models
from models import resnet as ours
from models.preact_resnet import PreActBasicBlock, PreActBottleneck, pooled_conv1x1

ONE_EACH = (1, 1, 1, 1)  # blocks per stage: enough for each kind of layer
OF_TORCHVISION = {
    "basic blocks": (
        partial(models.ResNet, ours.BasicBlock, ONE_EACH),
        partial(theirs.ResNet, theirs.BasicBlock, ONE_EACH),
    ),
    "bottlenecks": (
        partial(models.ResNet, ours.Bottleneck, ONE_EACH, expansion=4),
        partial(theirs.ResNet, theirs.Bottleneck, ONE_EACH),
    ),
    "bottlenecks in groups": (
        partial(ours._resnext, ONE_EACH),
        partial(theirs.ResNet, theirs.Bottleneck, ONE_EACH, groups=32, width_per_group=4),
    ),
    "mobilenet_v2": (models.MobileNetV2, torchvision.models.mobilenet_v2),
    "mobilenet_v3_small": (models.mobilenet_v3_small, torchvision.models.mobilenet_v3_small),
}


def kurtosis(weights):
    """3 for a normal distribution, 1.8 for a uniform one."""
    return ((weights - weights.mean()).pow(4).mean() / weights.var() ** 2).item()


@pytest.mark.parametrize("name", OF_TORCHVISION)
def test_every_layer_starts_with_the_spread_of_torchvisions(name):
    torch.manual_seed(0)
    found, expected = (dict(build().named_parameters()) for build in OF_TORCHVISION[name])
    assert found.keys() == expected.keys()
    for key, weights in expected.items():
        if weights.std() == 0:
            assert found[key].equal(weights), key
            continue
        chance = 5 / math.sqrt(weights.numel())
        assert found[key].std().item() == pytest.approx(weights.std().item(), rel=chance), key
        if weights.numel() > 10_000:
            assert kurtosis(found[key]) == pytest.approx(kurtosis(weights), abs=0.4), key


HE = {  # not in torchvision; small networks with the same blocks and shortcuts
    "resnet8": models.resnet8,
    "projection": partial(ours._cifar, ours.Bottleneck, (1, 1, 1), expansion=4),
    "pooled projection": partial(ours._aff_resnext, (1, 1, 1)),
    "preact_resnet": partial(models.PreActResNet, PreActBottleneck, (1, 1, 1), expansion=4),
    "aff_resnet": partial(
        models.PreActResNet, PreActBasicBlock, (1, 1, 1), (64, 128, 256), shortcut=pooled_conv1x1
    ),
    "mobilenet_v1": partial(models.MobileNetV1, width_mult=0.5),
    "mobilenet_v2_pytorch_cifar100": partial(models.mobilenet_v2_pytorch_cifar100, stem="cifar"),
}


@pytest.mark.parametrize("name", HE)
def test_every_convolution_starts_as_he_et_al_have_it(name):
    """Normal, with variance 2 / (k²·output channels); biases are 0 (Sec. 2.2, 2015)."""
    torch.manual_seed(0)
    net = HE[name]()
    convolutions = [module for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) > 5
    for layer in convolutions:
        weights = layer.weight
        expected = math.sqrt(2 / (weights.shape[0] * weights[0, 0].numel()))
        chance = 4 / math.sqrt(2 * weights.numel())
        assert weights.std().item() == pytest.approx(expected, rel=chance), layer
        assert abs(weights.mean().item()) < 5 * expected / math.sqrt(weights.numel()), layer
        if weights.numel() > 10_000:
            assert kurtosis(weights) == pytest.approx(3, abs=0.4), layer
        assert layer.bias is None or not layer.bias.any()


@pytest.mark.parametrize("name", HE)
def test_every_norm_starts_as_the_identity_and_the_classifier_as_torch_has_it(name):
    """In MobileNetV2, as in torchvision, the classifier starts with a deviation of 0.01."""
    torch.manual_seed(0)
    net = HE[name]()
    norms = [module for module in net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.weight.eq(1).all() and norm.bias.eq(0).all() for norm in norms)
    (classifier,) = [module for module in net.modules() if isinstance(module, nn.Linear)]
    of_torch = 1 / math.sqrt(3 * classifier.in_features)
    expected = 0.01 if "mobilenet_v2" in name else of_torch
    assert classifier.weight.std().item() == pytest.approx(expected, rel=0.02)
