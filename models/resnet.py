"""ResNet: Deep Residual Learning (He et al., 2015), https://arxiv.org/abs/1512.03385, and ResNeXt:
Aggregated Residual Transformations (Xie et al., 2016), https://arxiv.org/abs/1611.05431.

The ImageNet networks have torchvision's parameter names and its stride in the 3x3 ("v1.5"). With
`stem="cifar"` the 7x7 convolution and the max-pool give way to one 3x3 at full resolution, as in
the CIFAR-100 tables of the attention papers. ResNet-20 to -110 are those of Sec. 4.2;
ResNet-8 is the same family with one block a stage. ResNet-83 and -164 have bottlenecks, the
networks of SEM and IEBN (Qrange-group/SEM @ db5e194). The last are AFF's ResNeXt for small images
(open-aff @ 0bcfd8a), named there 9b + 2 like its layers.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from models.layers import conv1x1, conv3x3
from models.pretrained import load_into
from models.slots import Slots
from models.stem import Stem, choose_stem


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; its middle convolution is the first."""

    def __init__(
        self,
        in_planes: int,
        planes: int,
        out_planes: int,
        stride: int,
        downsample: nn.Module,
        slots: Slots,
    ) -> None:
        super().__init__()
        self.conv1 = slots.make_conv3x3(in_planes, planes, stride)
        self.prenorm = slots.site("prenorm", planes)
        self.bn1 = slots.make_norm(planes)
        self.relu = nn.ReLU(inplace=True)
        self.inner = slots.site("inner", planes)
        self.conv2 = conv3x3(planes, out_planes)
        self.bn2 = slots.make_norm(out_planes)
        self.branch = slots.site("branch", out_planes)
        self.downsample = downsample
        self.identity = slots.site("identity", out_planes)
        self.fusion = slots.make_fusion(out_planes)
        self.epilogue = slots.epilogue
        self.post = slots.site("post", out_planes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.prenorm(self.conv1(x))))
        y = self.conv2(self.inner(y))
        shortcut = self.identity(self.downsample(x))
        return self.post(self.epilogue(y, self.bn2, self.branch, self.fusion, shortcut, self.relu))


class Bottleneck(nn.Module):
    """1x1 down, 3x3 in `groups`, 1x1 up."""

    def __init__(
        self,
        in_planes: int,
        planes: int,
        out_planes: int,
        stride: int,
        downsample: nn.Module,
        slots: Slots,
        groups: int = 1,
    ) -> None:
        super().__init__()
        self.conv1 = conv1x1(in_planes, planes)
        self.bn1 = slots.make_norm(planes)
        self.conv2 = slots.make_conv3x3(planes, planes, stride, groups)
        self.prenorm = slots.site("prenorm", planes)
        self.bn2 = slots.make_norm(planes)
        self.relu = nn.ReLU(inplace=True)
        self.inner = slots.site("inner", planes)
        self.conv3 = conv1x1(planes, out_planes)
        self.bn3 = slots.make_norm(out_planes)
        self.branch = slots.site("branch", out_planes)
        self.downsample = downsample
        self.identity = slots.site("identity", out_planes)
        self.fusion = slots.make_fusion(out_planes)
        self.epilogue = slots.epilogue
        self.post = slots.site("post", out_planes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.prenorm(self.conv2(y))))
        y = self.conv3(self.inner(y))
        shortcut = self.identity(self.downsample(x))
        return self.post(self.epilogue(y, self.bn3, self.branch, self.fusion, shortcut, self.relu))


def projection(in_planes: int, out_planes: int, stride: int) -> nn.Module:
    """Option B of Sec. 3.3: a strided 1x1 convolution and BN; a plain BN whatever the norm slot."""
    return nn.Sequential(conv1x1(in_planes, out_planes, stride), nn.BatchNorm2d(out_planes))


def pooled_projection(in_planes: int, out_planes: int, stride: int) -> nn.Module:
    """AFF's: average pooling takes the stride, then a 1x1 convolution and a plain BN."""
    return nn.Sequential(
        average_pool(stride), conv1x1(in_planes, out_planes), nn.BatchNorm2d(out_planes)
    )


def average_pool(stride: int) -> nn.AvgPool2d:
    """Average pooling over squares of `stride` pixels, smaller ones at the border."""
    return nn.AvgPool2d(stride, ceil_mode=True, count_include_pad=False)


class ZeroPadShortcut(nn.Module):
    """Option A of Sec. 3.3: every `stride`-th pixel, new channels filled with zeros."""

    def __init__(self, in_planes: int, out_planes: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.new_planes = out_planes - in_planes

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_planes))


STEMS = {"imagenet": Stem(kernel_size=7, stride=2, padding=3, pooled=True), "cifar": Stem()}


def residual_stages(
    block: Callable[..., nn.Module],
    shortcut: Callable[..., nn.Module],
    depths: Sequence[int],
    planes: Sequence[int],
    expansion: int,
    in_planes: int,
    slots: Slots,
) -> tuple[list[nn.Sequential], Slots]:
    """The stages, and the slots of the last stage; each stage but the first halves the map.

    `slots` are those after the stem, and `in_planes` are the channels of the stem.
    """
    stages = []
    for stage, (depth, width) in enumerate(zip(depths, planes, strict=True), 1):
        stride, out_planes = 1 if stage == 1 else 2, width * expansion
        slots = slots.at(stage, math.ceil(slots.size[0] / stride))
        layer = []
        for s in (stride, *[1] * (depth - 1)):
            same = s == 1 and in_planes == out_planes
            downsample = nn.Identity() if same else shortcut(in_planes, out_planes, s)
            layer.append(block(in_planes, width, out_planes, s, downsample, slots))
            in_planes = out_planes
        layer += [slots.site("stage", in_planes)] if stage < len(depths) else []
        stages.append(nn.Sequential(*layer))
    return stages, slots


class ResNet(nn.Module):
    """(N, C, H, W) -> logits (N, num_classes); `depths` and `planes` are given stage by stage.

    `planes` are the widths of the middle convolutions, `expansion` times which come out of a block.
    `image_size` is the H = W that the slots are told of; without a slot that asks for the size of
    its map the network takes images of any size.
    """

    def __init__(
        self,
        block: Callable[..., nn.Module],
        depths: Sequence[int],
        planes: Sequence[int] = (64, 128, 256, 512),
        expansion: int = 1,
        stem_planes: int = 64,
        shortcut: Callable[..., nn.Module] = projection,
        num_classes: int = 1000,
        stem: str = "imagenet",
        image_size: int = 224,
        slots: Slots | None = None,
        in_channels: int = 3,
        weights: str | None = None,
        weights_partial: bool = False,
    ) -> None:
        super().__init__()
        first = choose_stem(STEMS, stem)
        slots = (slots or Slots()).check_stages(len(depths))
        self.conv1, self.maxpool = first.make_conv(in_channels, stem_planes), first.make_pool()
        self.bn1 = slots.make_norm(stem_planes)
        self.relu = nn.ReLU(inplace=True)
        slots = slots.at(1, first.size(image_size))
        layers, slots = residual_stages(
            block, shortcut, depths, planes, expansion, stem_planes, slots
        )
        self.stages = [f"layer{stage}" for stage in range(1, len(layers) + 1)]
        for name, layer in zip(self.stages, layers, strict=True):
            self.add_module(name, layer)
        self.head = slots.site("head", planes[-1] * expansion)
        self.fc = nn.Linear(planes[-1] * expansion, num_classes)
        load_into(self, weights, weights_partial)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return self.fc(self.head(x).mean((2, 3)))


resnet18 = partial(ResNet, BasicBlock, (2, 2, 2, 2))
resnet34 = partial(ResNet, BasicBlock, (3, 4, 6, 3))
resnet50 = partial(ResNet, Bottleneck, (3, 4, 6, 3), expansion=4)
resnet101 = partial(ResNet, Bottleneck, (3, 4, 23, 3), expansion=4)
resnet152 = partial(ResNet, Bottleneck, (3, 8, 36, 3), expansion=4)

_cifar = partial(ResNet, planes=(16, 32, 64), stem_planes=16, stem="cifar")
resnet8 = partial(_cifar, BasicBlock, (1, 1, 1), shortcut=ZeroPadShortcut)
resnet20 = partial(_cifar, BasicBlock, (3, 3, 3), shortcut=ZeroPadShortcut)
resnet32 = partial(_cifar, BasicBlock, (5, 5, 5), shortcut=ZeroPadShortcut)
resnet56 = partial(_cifar, BasicBlock, (9, 9, 9), shortcut=ZeroPadShortcut)
resnet110 = partial(_cifar, BasicBlock, (18, 18, 18), shortcut=ZeroPadShortcut)
resnet83 = partial(_cifar, Bottleneck, (9, 9, 9), expansion=4)
resnet164 = partial(_cifar, Bottleneck, (18, 18, 18), expansion=4)

# 32 groups of 4, 8, 16 and 32 channels ("32x4d")
_resnext = partial(
    ResNet, partial(Bottleneck, groups=32), planes=(128, 256, 512, 1024), expansion=2
)
resnext50_32x4d = partial(_resnext, (3, 4, 6, 3))
resnext101_32x4d = partial(_resnext, (3, 4, 23, 3))
_aff_resnext = partial(_resnext, planes=(128, 256, 512), shortcut=pooled_projection, stem="cifar")
aff_resnext29 = partial(_aff_resnext, (3, 3, 3))
aff_resnext38 = partial(_aff_resnext, (4, 4, 4))
aff_resnext47 = partial(_aff_resnext, (5, 5, 5))
