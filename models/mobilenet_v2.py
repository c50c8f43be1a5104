"""MobileNetV2: Inverted Residuals and Linear Bottlenecks (Sandler et al., 2018),
https://arxiv.org/abs/1801.04381, with torchvision's parameter names.

`stem="cifar"` keeps 32x32 images large for longer: stride 1 in the stem and in the second stage of
the paper's table, the strides of most CIFAR ports.

`mobilenet_v2_pytorch_cifar100` is the port most CIFAR-100 tables come from (weiaicunzai/
pytorch-cifar100 @ 11d8418): a 1x1 stem padded to 34x34, other strides, biases in every convolution,
an expansion even where it does not expand, and no dropout.
"""

import math
from collections.abc import Mapping
from functools import partial

from torch import Tensor, nn

from models.layers import add_feature, conv1x1, conv_norm_act, make_divisible
from models.pretrained import load_into
from models.slots import BranchOnly, Slots
from models.stem import Stem, choose_stem

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


STEMS = {
    "imagenet": Stem(stride=2, strides=(1, 2, 2, 2, 1, 2, 1)),
    "cifar": Stem(strides=(1, 1, 2, 2, 1, 2, 1)),
}
PYTORCH_CIFAR100 = {**STEMS, "cifar": Stem(kernel_size=1, strides=(1, 2, 2, 2, 1, 1, 1))}


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise 3x3, linear 1x1; a shortcut where stride and width allow one."""

    def __init__(
        self,
        in_planes: int,
        planes: int,
        stride: int,
        expand_ratio: int,
        slots: Slots,
        bias: bool = False,
        always_expand: bool = False,
    ) -> None:
        super().__init__()
        hidden = in_planes * expand_ratio
        layers = []
        if always_expand or expand_ratio > 1:
            expand = conv1x1(in_planes, hidden, bias=bias)
            layers.append(_conv_bn_relu(expand, slots.make_norm(hidden)))
        depthwise = slots.make_conv3x3(hidden, hidden, stride, groups=hidden, bias=bias)
        sites = {name: slots.site(name, hidden) for name in ("prenorm", "inner")}
        layers.append(_conv_bn_relu(depthwise, slots.make_norm(hidden), **sites))
        linear = conv1x1(hidden, planes, bias=bias)
        self.conv = nn.Sequential(*layers, linear, slots.make_norm(planes))
        self.branch = slots.site("branch", planes)
        residual = stride == 1 and in_planes == planes
        self.identity = slots.site("identity", planes) if residual else nn.Identity()
        self.fusion = slots.make_fusion(planes) if residual else BranchOnly()
        self.epilogue = slots.epilogue
        self.act = nn.Identity()
        self.post = slots.site("post", planes)

    def forward(self, x: Tensor) -> Tensor:
        *layers, norm = self.conv
        y, shortcut = x, self.identity(x)
        for layer in layers:  # a slice of an nn.Sequential is a new module, which FX does not know
            y = layer(y)
        out = self.epilogue(y, norm, self.branch, self.fusion, shortcut, self.act)
        return self.post(out)


class MobileNetV2(nn.Module):
    """(N, C, H, W) -> logits (N, num_classes). The sizes in slots follow from `image_size`."""

    def __init__(
        self,
        num_classes: int = 1000,
        stem: str = "imagenet",
        image_size: int = 224,
        width_mult: float = 1.0,
        dropout: float = 0.2,
        slots: Slots | None = None,
        in_channels: int = 3,
        weights: str | None = None,
        weights_partial: bool = False,
        stems: Mapping[str, Stem] = STEMS,
        bias: bool = False,
        always_expand: bool = False,
    ) -> None:
        super().__init__()
        first, width = choose_stem(stems, stem), partial(make_divisible, width_mult)
        last, in_planes = make_divisible(max(1.0, width_mult), 1280), width(32)
        slots = (slots or Slots()).at(1, first.size(image_size))
        conv1 = first.make_conv(in_channels, in_planes, bias)
        self.features = nn.Sequential(_conv_bn_relu(conv1, slots.make_norm(in_planes)))
        for (ratio, c, n, stage), stride in zip(TABLE, first.strides, strict=True):
            if stage > slots.stage:
                self.features.add_module(f"stage{slots.stage}", slots.site("stage", in_planes))
            slots = slots.at(stage, math.ceil(slots.size[0] / stride))
            for s in (stride, *[1] * (n - 1)):
                planes = width(c)
                block = InvertedResidual(in_planes, planes, s, ratio, slots, bias, always_expand)
                add_feature(self.features, block)
                in_planes = planes
        conv2 = conv1x1(in_planes, last, bias=bias)
        add_feature(self.features, _conv_bn_relu(conv2, slots.make_norm(last)))
        self.head = slots.site("head", last)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last, num_classes))
        nn.init.normal_(self.classifier[1].weight, std=0.01)
        nn.init.zeros_(self.classifier[1].bias)
        load_into(self, weights, weights_partial)

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.head(self.features(x)).mean((2, 3)))


mobilenet_v2_pytorch_cifar100 = partial(
    MobileNetV2, stems=PYTORCH_CIFAR100, bias=True, always_expand=True, dropout=0.0
)


def _conv_bn_relu(convolution: nn.Module, norm: nn.Module, **sites: nn.Module) -> nn.Sequential:
    return conv_norm_act(convolution, norm, nn.ReLU6(inplace=True), **sites)
