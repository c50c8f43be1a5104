"""MobileNetV3: Searching for MobileNetV3 (Howard et al., 2019), https://arxiv.org/abs/1905.02244,
with torchvision's parameter names.

Its squeeze-and-excitation is part of the network, in the blocks the paper says; whatever fills the
sites is added to it, `inner` following it. `se=nn.Identity` takes it out, so that another attention
can stand in its place. `stem="cifar"` keeps 32x32 images large for longer: stride 1 in the stem and
in the first strided block (which, in the small network, has a shortcut then).
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from models.layers import add_feature, conv1x1, conv_norm_act, make_divisible
from models.pretrained import load_into
from models.slots import BranchOnly, Slots
from models.stem import Stem, choose_stem

# kernel, expanded and output channels, SE, activation, stride (Tables 1, 2), and the stage.
RE, HS = partial(nn.ReLU, inplace=True), partial(nn.Hardswish, inplace=True)
LARGE = (
    (3, 16, 16, False, RE, 1, 1),
    (3, 64, 24, False, RE, 2, 1),
    (3, 72, 24, False, RE, 1, 1),
    (5, 72, 40, True, RE, 2, 2),
    (5, 120, 40, True, RE, 1, 2),
    (5, 120, 40, True, RE, 1, 2),
    (3, 240, 80, False, HS, 2, 3),
    (3, 200, 80, False, HS, 1, 3),
    (3, 184, 80, False, HS, 1, 3),
    (3, 184, 80, False, HS, 1, 3),
    (3, 480, 112, True, HS, 1, 3),
    (3, 672, 112, True, HS, 1, 3),
    (5, 672, 160, True, HS, 2, 4),
    (5, 960, 160, True, HS, 1, 4),
    (5, 960, 160, True, HS, 1, 4),
)
SMALL = (
    (3, 16, 16, True, RE, 2, 1),
    (3, 72, 24, False, RE, 2, 2),
    (3, 88, 24, False, RE, 1, 2),
    (5, 96, 40, True, HS, 2, 3),
    (5, 240, 40, True, HS, 1, 3),
    (5, 240, 40, True, HS, 1, 3),
    (5, 120, 48, True, HS, 1, 3),
    (5, 144, 48, True, HS, 1, 3),
    (5, 288, 96, True, HS, 2, 4),
    (5, 576, 96, True, HS, 1, 4),
    (5, 576, 96, True, HS, 1, 4),
)
BN = {"eps": 0.001, "momentum": 0.01}


class SqueezeExcite(nn.Module):
    """y = hard-σ(W₂·ReLU(W₁·GAP(x)))⊙x, the hidden width a quarter, rounded to a multiple of 8."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = make_divisible(1.0, channels // 4)
        self.fc1 = conv1x1(channels, hidden, bias=True)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = conv1x1(hidden, channels, bias=True)
        self.gate = nn.Hardsigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.fc2(self.relu(self.fc1(x.mean((2, 3), keepdim=True)))))


class InvertedResidualV3(nn.Module):
    """1x1 expansion, depthwise 3x3 or 5x5, squeeze-and-excitation in some, linear 1x1."""

    def __init__(
        self,
        in_planes: int,
        hidden: int,
        planes: int,
        kernel_size: int,
        stride: int,
        act: Callable[[], nn.Module],
        se: Sequence[nn.Module],
        slots: Slots,
    ) -> None:
        super().__init__()
        layers = []
        if hidden != in_planes:
            layers.append(conv_norm_act(conv1x1(in_planes, hidden), _norm(slots, hidden), act()))
        depthwise = slots.make_conv3x3(hidden, hidden, stride, hidden, kernel_size=kernel_size)
        prenorm = slots.site("prenorm", hidden)
        layers.append(conv_norm_act(depthwise, _norm(slots, hidden), act(), prenorm=prenorm))
        self.block = nn.Sequential(*layers, *se)
        self.block.add_module("inner", slots.site("inner", hidden))
        linear = nn.Sequential(conv1x1(hidden, planes), _norm(slots, planes))
        add_feature(self.block, linear)
        self.branch = slots.site("branch", planes)
        residual = stride == 1 and in_planes == planes
        self.identity = slots.site("identity", planes) if residual else nn.Identity()
        self.fusion = slots.make_fusion(planes) if residual else BranchOnly()
        self.post = slots.site("post", planes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(self.block(x))
        return self.post(self.fusion(self.identity(x), y))


class MobileNetV3(nn.Module):
    """(N, C, H, W) -> logits (N, num_classes). `image_size` is the H = W the slots are told of.

    `se` is built, as `se(channels)`, in the blocks that have squeeze-and-excitation.
    """

    def __init__(
        self,
        table: Sequence[tuple],
        last_planes: int,
        num_classes: int = 1000,
        stem: str = "imagenet",
        image_size: int = 224,
        width_mult: float = 1.0,
        dropout: float = 0.2,
        se: Callable[[int], nn.Module] = SqueezeExcite,
        slots: Slots | None = None,
        in_channels: int = 3,
        weights: str | None = None,
        weights_partial: bool = False,
    ) -> None:
        super().__init__()
        first = choose_stem(_stems(table), stem)
        width, in_planes = partial(make_divisible, width_mult), make_divisible(width_mult, 16)
        slots = (slots or Slots()).at(1, first.size(image_size))
        conv1 = first.make_conv(in_channels, in_planes)
        self.features = nn.Sequential(conv_norm_act(conv1, _norm(slots, in_planes), HS()))
        for (k, hidden, c, has_se, act, _, stage), s in zip(table, first.strides, strict=True):
            if stage > slots.stage:
                self.features.add_module(f"stage{slots.stage}", slots.site("stage", in_planes))
            slots = slots.at(stage, math.ceil(slots.size[0] / s))
            hidden, planes = width(hidden), width(c)
            own = [slots.fill("se", se, SqueezeExcite, hidden)] if has_se else []
            block = InvertedResidualV3(in_planes, hidden, planes, k, s, act, own, slots)
            add_feature(self.features, block)
            in_planes = planes
        last = 6 * in_planes
        conv2 = conv1x1(in_planes, last)
        add_feature(self.features, conv_norm_act(conv2, _norm(slots, last), HS()))
        self.head = slots.site("head", last)
        self.classifier = _classifier(last, width(last_planes), num_classes, dropout)
        load_into(self, weights, weights_partial)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.head(self.features(x)).mean((2, 3)))


mobilenet_v3_large = partial(MobileNetV3, LARGE, 1280)
mobilenet_v3_small = partial(MobileNetV3, SMALL, 1024)


def _stems(table: Sequence[tuple]) -> dict[str, Stem]:
    """The stem for CIFAR, and the first row with a stride, keep the resolution."""
    strides = tuple(row[5] for row in table)
    first = strides.index(2)
    small = (*strides[:first], 1, *strides[first + 1 :])
    return {"imagenet": Stem(stride=2, strides=strides), "cifar": Stem(strides=small)}


def _norm(slots: Slots, channels: int) -> nn.Module:
    return slots.make_norm(channels, **BN)


def _classifier(planes: int, hidden: int, num_classes: int, dropout: float) -> nn.Sequential:
    layers = [nn.Linear(planes, hidden), HS(), nn.Dropout(dropout), nn.Linear(hidden, num_classes)]
    for layer in (layers[0], layers[3]):
        nn.init.normal_(layer.weight, std=0.01)
        nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)
