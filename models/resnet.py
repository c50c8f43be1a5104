"""ResNet: Deep Residual Learning (He et al., 2015), https://arxiv.org/abs/1512.03385.

The ImageNet networks have torchvision's parameter names and its stride in the 3x3 ("v1.5"). With
`stem="cifar"` the 7x7 convolution and the max-pool give way to one 3x3 at full resolution, as in
the CIFAR-100 tables of the attention papers. ResNet-20 to -110 are those of Sec. 4.2.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from models.layers import conv, conv1x1, conv3x3
from models.slots import Slots


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; its middle convolution is the first."""

    expansion = 1

    def __init__(
        self, in_planes: int, planes: int, stride: int, downsample: nn.Module, slots: Slots
    ) -> None:
        super().__init__()
        self.conv1 = slots.conv3x3(in_planes, planes, stride)
        self.bn1 = slots.normalize(planes)
        self.relu = nn.ReLU(inplace=True)
        self.inner = slots.site("inner", planes)
        self.conv2 = conv3x3(planes, planes)
        self.bn2 = slots.normalize(planes)
        self.branch = slots.site("branch", planes)
        self.downsample = downsample
        self.identity = slots.site("identity", planes)
        self.fusion = slots.fuse(planes)
        self.post = slots.site("post", planes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.inner(self.relu(self.bn1(self.conv1(x))))
        y = self.branch(self.bn2(self.conv2(y)))
        shortcut = self.identity(self.downsample(x))
        return self.post(self.relu(self.fusion(shortcut, y)))


class Bottleneck(nn.Module):
    """1x1 down, 3x3, 1x1 up."""

    expansion = 4

    def __init__(
        self, in_planes: int, planes: int, stride: int, downsample: nn.Module, slots: Slots
    ) -> None:
        super().__init__()
        out_planes = planes * self.expansion
        self.conv1 = conv1x1(in_planes, planes)
        self.bn1 = slots.normalize(planes)
        self.conv2 = slots.conv3x3(planes, planes, stride)
        self.bn2 = slots.normalize(planes)
        self.relu = nn.ReLU(inplace=True)
        self.inner = slots.site("inner", planes)
        self.conv3 = conv1x1(planes, out_planes)
        self.bn3 = slots.normalize(out_planes)
        self.branch = slots.site("branch", out_planes)
        self.downsample = downsample
        self.identity = slots.site("identity", out_planes)
        self.fusion = slots.fuse(out_planes)
        self.post = slots.site("post", out_planes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.inner(self.relu(self.bn2(self.conv2(y))))
        y = self.branch(self.bn3(self.conv3(y)))
        shortcut = self.identity(self.downsample(x))
        return self.post(self.relu(self.fusion(shortcut, y)))


def projection(in_planes: int, out_planes: int, stride: int) -> nn.Module:
    """Option B of Sec. 3.3: a strided 1x1 convolution and BN; a plain BN whatever the norm slot."""
    return nn.Sequential(conv1x1(in_planes, out_planes, stride), nn.BatchNorm2d(out_planes))


class Pad(nn.Module):
    """Option A of Sec. 3.3: every `stride`-th pixel, new channels filled with zeros."""

    def __init__(self, in_planes: int, out_planes: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.new_planes = out_planes - in_planes

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.new_planes))


def imagenet_stem(planes: int) -> tuple[nn.Module, nn.Module, int]:
    """7x7 stride 2, then max-pool: a quarter of the resolution."""
    return conv(3, planes, 2, kernel_size=7), nn.MaxPool2d(3, 2, padding=1), 4


def cifar_stem(planes: int) -> tuple[nn.Module, nn.Module, int]:
    """3x3, no pooling: the whole resolution."""
    return conv3x3(3, planes), nn.Identity(), 1


STEMS = {"imagenet": imagenet_stem, "cifar": cifar_stem}


class ResNet(nn.Module):
    """(N, 3, H, W) -> logits (N, num_classes); `depths` and `planes` are given stage by stage.

    `image_size` is the H = W that the slots are told of; without a slot that asks for the size of
    its map the network takes images of any size.
    """

    def __init__(
        self,
        block: Callable[..., nn.Module],
        depths: Sequence[int],
        planes: Sequence[int] = (64, 128, 256, 512),
        shortcut: Callable[..., nn.Module] = projection,
        num_classes: int = 1000,
        stem: str = "imagenet",
        image_size: int = 224,
        slots: Slots | None = None,
    ) -> None:
        super().__init__()
        if stem not in STEMS:
            raise ValueError(f"stem={stem}: choose from {', '.join(STEMS)}")
        slots = slots or Slots()
        self.conv1, self.maxpool, reduction = STEMS[stem](planes[0])
        self.bn1 = slots.normalize(planes[0])
        self.relu = nn.ReLU(inplace=True)
        self.stages = [f"layer{stage}" for stage in range(1, len(depths) + 1)]
        in_planes, size = planes[0], math.ceil(image_size / reduction)
        for stage, (depth, width) in enumerate(zip(depths, planes, strict=True), 1):
            stride = 1 if stage == 1 else 2
            size = math.ceil(size / stride)
            here = slots.at(stage, size)
            layer = [_block(block, shortcut, in_planes, width, stride, here)]
            in_planes = width * block.expansion
            layer += [_block(block, shortcut, in_planes, width, 1, here) for _ in range(1, depth)]
            layer += [here.site("stage", in_planes)] if stage < len(depths) else []
            self.add_module(f"layer{stage}", nn.Sequential(*layer))
        self.head = here.site("head", in_planes)
        self.fc = nn.Linear(in_planes, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for stage in self.stages:
            x = getattr(self, stage)(x)
        return self.fc(self.head(x).mean((2, 3)))


def _block(
    block: Callable[..., nn.Module],
    shortcut: Callable[..., nn.Module],
    in_planes: int,
    planes: int,
    stride: int,
    slots: Slots,
) -> nn.Module:
    out_planes = planes * block.expansion
    same = stride == 1 and in_planes == out_planes
    downsample = nn.Identity() if same else shortcut(in_planes, out_planes, stride)
    return block(in_planes, planes, stride, downsample, slots)


resnet18 = partial(ResNet, BasicBlock, (2, 2, 2, 2))
resnet34 = partial(ResNet, BasicBlock, (3, 4, 6, 3))
resnet50 = partial(ResNet, Bottleneck, (3, 4, 6, 3))
resnet101 = partial(ResNet, Bottleneck, (3, 4, 23, 3))
resnet152 = partial(ResNet, Bottleneck, (3, 8, 36, 3))

_cifar = partial(ResNet, BasicBlock, planes=(16, 32, 64), shortcut=Pad, stem="cifar")
resnet20 = partial(_cifar, depths=(3, 3, 3))
resnet32 = partial(_cifar, depths=(5, 5, 5))
resnet56 = partial(_cifar, depths=(9, 9, 9))
resnet110 = partial(_cifar, depths=(18, 18, 18))
