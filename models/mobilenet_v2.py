"""MobileNetV2: Inverted Residuals and Linear Bottlenecks (Sandler et al., 2018),
https://arxiv.org/abs/1801.04381, with torchvision's parameter names.

`stem="cifar"` keeps 32x32 images large for longer: stride 1 in the stem and in the second stage of
the paper's table, the strides of most CIFAR ports.
"""

import math
from functools import partial

from torch import Tensor, nn

from models.layers import conv, conv1x1
from models.slots import BranchOnly, Slots

# t: expansion, c: channels, n: blocks (Table 2), and the stage, which ends where maps shrink.
TABLE = (
    (1, 16, 1, 1),
    (6, 24, 2, 1),
    (6, 32, 3, 2),
    (6, 64, 4, 3),
    (6, 96, 3, 3),
    (6, 160, 3, 4),
    (6, 320, 1, 4),
)
STRIDES = {  # of the stem, then of each row of the table
    "imagenet": (2, 1, 2, 2, 2, 1, 2, 1),
    "cifar": (1, 1, 1, 2, 2, 1, 2, 1),
}


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, linear 1x1; a shortcut where stride and width allow one."""

    def __init__(
        self, in_planes: int, planes: int, stride: int, expand_ratio: int, slots: Slots
    ) -> None:
        super().__init__()
        hidden = in_planes * expand_ratio
        expand = []
        if expand_ratio > 1:
            expand = [_conv_bn_relu(conv1x1(in_planes, hidden), slots.normalize(hidden))]
        depthwise = _conv_bn_relu(
            slots.conv3x3(hidden, hidden, stride, groups=hidden), slots.normalize(hidden)
        )
        depthwise.add_module("inner", slots.site("inner", hidden))
        linear = [conv1x1(hidden, planes), slots.normalize(planes)]
        self.conv = nn.Sequential(*expand, depthwise, *linear)
        self.branch = slots.site("branch", planes)
        residual = stride == 1 and in_planes == planes
        self.identity = slots.site("identity", planes) if residual else nn.Identity()
        self.fusion = slots.fuse(planes) if residual else BranchOnly()
        self.post = slots.site("post", planes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(self.conv(x))
        return self.post(self.fusion(self.identity(x), y))


class MobileNetV2(nn.Module):
    """(N, 3, H, W) -> logits (N, num_classes). `image_size` is the H = W the slots are told of."""

    def __init__(
        self,
        num_classes: int = 1000,
        stem: str = "imagenet",
        image_size: int = 224,
        width_mult: float = 1.0,
        dropout: float = 0.2,
        slots: Slots | None = None,
    ) -> None:
        super().__init__()
        if stem not in STRIDES:
            raise ValueError(f"stem={stem}: choose from {', '.join(STRIDES)}")
        width = partial(_divisible_by_8, width_mult)
        last = _divisible_by_8(max(1.0, width_mult), 1280)
        stem_stride, *strides = STRIDES[stem]
        slots = (slots or Slots()).at(1, math.ceil(image_size / stem_stride))
        in_planes = width(32)
        conv1 = conv(3, in_planes, stem_stride, kernel_size=3)
        self.features = nn.Sequential(_conv_bn_relu(conv1, slots.normalize(in_planes)))
        for (ratio, c, n, stage), stride in zip(TABLE, strides, strict=True):
            if stage > slots.stage:
                self.features.add_module(f"stage{slots.stage}", slots.site("stage", in_planes))
            slots = slots.at(stage, math.ceil(slots.size[0] / stride))
            for block_stride in (stride, *[1] * (n - 1)):
                block = InvertedResidual(in_planes, width(c), block_stride, ratio, slots)
                self._add_feature(block)
                in_planes = width(c)
        self._add_feature(_conv_bn_relu(conv1x1(in_planes, last), slots.normalize(last)))
        self.head = slots.site("head", last)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        nn.init.normal_(self.classifier[1].weight, std=0.01)
        nn.init.zeros_(self.classifier[1].bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.head(self.features(x)).mean((2, 3)))

    def _add_feature(self, module: nn.Module) -> None:
        """Append under torchvision's running number, which attention between stages lacks."""
        numbered = sum(name.isdigit() for name, _ in self.features.named_children())
        self.features.add_module(str(numbered), module)


def _conv_bn_relu(convolution: nn.Module, norm: nn.Module) -> nn.Sequential:
    return nn.Sequential(convolution, norm, nn.ReLU6(inplace=True))


def _divisible_by_8(width_mult: float, channels: int) -> int:
    """The reference's rounding: to a multiple of 8, and never below 90 % of the width asked for."""
    asked = channels * width_mult
    rounded = max(8, int(asked + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * asked else rounded
