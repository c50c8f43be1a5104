"""Backbones with named slots for attention."""

from models.layers import conv1x1, conv3x3
from models.mobilenet_v2 import MobileNetV2
from models.resnet import (
    ResNet,
    resnet18,
    resnet20,
    resnet32,
    resnet34,
    resnet50,
    resnet56,
    resnet101,
    resnet110,
    resnet152,
)
from models.slots import SITES, Add, Slots

__all__ = [
    "SITES",
    "Add",
    "MobileNetV2",
    "ResNet",
    "Slots",
    "conv1x1",
    "conv3x3",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet34",
    "resnet50",
    "resnet56",
    "resnet101",
    "resnet110",
    "resnet152",
]
