"""Backbones with named slots for attention."""

from models.layers import conv1x1, conv3x3
from models.mobilenet_v1 import MobileNetV1
from models.mobilenet_v2 import MobileNetV2, mobilenet_v2_pytorch_cifar100
from models.mobilenet_v3 import (
    MobileNetV3,
    SqueezeExcite,
    mobilenet_v3_large,
    mobilenet_v3_small,
)
from models.preact_resnet import PreActResNet, aff_resnet32, preact_resnet164
from models.resnet import (
    ResNet,
    aff_resnext29,
    aff_resnext38,
    aff_resnext47,
    resnet8,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet50,
    resnet56,
    resnet83,
    resnet101,
    resnet110,
    resnet152,
    resnet164,
    resnext50_32x4d,
    resnext101_32x4d,
)
from models.sknet import sknet50, sknet101
from models.slots import SITES, STAGES, Add, Slots

__all__ = [
    "SITES",
    "STAGES",
    "Add",
    "MobileNetV1",
    "MobileNetV2",
    "MobileNetV3",
    "PreActResNet",
    "ResNet",
    "Slots",
    "SqueezeExcite",
    "aff_resnet32",
    "aff_resnext29",
    "aff_resnext38",
    "aff_resnext47",
    "conv1x1",
    "conv3x3",
    "mobilenet_v2_pytorch_cifar100",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    "preact_resnet164",
    "resnet8",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet50",
    "resnet56",
    "resnet83",
    "resnet101",
    "resnet110",
    "resnet152",
    "resnet164",
    "resnext50_32x4d",
    "resnext101_32x4d",
    "sknet50",
    "sknet101",
]
