"""MobileNet: Efficient Convolutional Neural Networks for Mobile Vision (Howard et al., 2017),
https://arxiv.org/abs/1704.04861.

Reference: weiaicunzai/pytorch-cifar100 @ 11d8418, models/mobilenet.py, whose pointwise convolutions
have biases; the paper's, with a BN behind them, have none: `bias=False`. `stem="cifar"` gives the
first convolution stride 1.
"""

import math

from torch import Tensor, nn

from models.layers import conv1x1, conv_norm_act
from models.pretrained import load_into
from models.slots import Slots
from models.stem import Stem, choose_stem

# c: channels, n: blocks, s: stride of the first (Table 1), and the stage, which ends where maps
# shrink.
TABLE = (
    (64, 1, 1, 1),
    (128, 2, 2, 1),
    (256, 2, 2, 2),
    (512, 6, 2, 3),
    (1024, 2, 2, 4),
)
STEMS = {"imagenet": Stem(stride=2), "cifar": Stem()}


class DepthwiseSeparable(nn.Module):
    """Depthwise 3x3, then 1x1, each with norm and ReLU; `branch` is before, `post` after the last.

    There is no shortcut: nothing to fuse, and no site `identity`.
    """

    def __init__(self, in_planes: int, planes: int, stride: int, slots: Slots, bias: bool) -> None:
        super().__init__()
        depthwise = slots.make_conv3x3(in_planes, in_planes, stride, groups=in_planes)
        sites = {name: slots.site(name, in_planes) for name in ("prenorm", "inner")}
        self.depthwise = _conv_bn_relu(depthwise, slots.make_norm(in_planes), **sites)
        self.pointwise = conv1x1(in_planes, planes, bias=bias)
        self.bn = slots.make_norm(planes)
        self.branch = slots.site("branch", planes)
        self.relu = nn.ReLU(inplace=True)
        self.post = slots.site("post", planes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn(self.pointwise(self.depthwise(x)))
        return self.post(self.relu(self.branch(y)))


class MobileNetV1(nn.Module):
    """(N, C, H, W) -> logits (N, num_classes). The sizes in slots follow from `image_size`."""

    def __init__(
        self,
        num_classes: int = 1000,
        stem: str = "imagenet",
        image_size: int = 224,
        width_mult: float = 1.0,
        bias: bool = True,
        slots: Slots | None = None,
        in_channels: int = 3,
        weights: str | None = None,
        weights_partial: bool = False,
    ) -> None:
        super().__init__()
        if width_mult < 1 / 32:
            raise ValueError(f"width_mult must be at least 1/32, got {width_mult}")
        first, in_planes = choose_stem(STEMS, stem), int(32 * width_mult)
        slots = (slots or Slots()).check_no_shortcut().at(1, first.size(image_size))
        self.stem = _conv_bn_relu(
            first.make_conv(in_channels, in_planes), slots.make_norm(in_planes)
        )
        self.features = nn.Sequential()
        for c, n, stride, stage in TABLE:
            if stage > slots.stage:
                self.features.append(slots.site("stage", in_planes))
            slots = slots.at(stage, math.ceil(slots.size[0] / stride))
            for s in (stride, *[1] * (n - 1)):
                planes = int(c * width_mult)
                self.features.append(DepthwiseSeparable(in_planes, planes, s, slots, bias))
                in_planes = planes
        self.head = slots.site("head", in_planes)
        self.fc = nn.Linear(in_planes, num_classes)
        load_into(self, weights, weights_partial)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.head(self.features(self.stem(x))).mean((2, 3)))


def _conv_bn_relu(convolution: nn.Module, norm: nn.Module, **sites: nn.Module) -> nn.Sequential:
    return conv_norm_act(convolution, norm, nn.ReLU(inplace=True), **sites)
