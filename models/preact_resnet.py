"""Pre-activation ResNet: Identity Mappings in Deep Residual Networks (He et al., 2016),
https://arxiv.org/abs/1603.05027, for small images.

`preact_resnet164` is DIANet's (gbup-group/DIANet @ 51685ca, models/cifar/dia_preresnet.py): the
shortcut takes what comes into the block, not its pre-activation, and a projection has no BN. The
BN with which that file ends a branch belongs to DIA and is not here.

`aff_resnet32` is the network of AFF's CIFAR tables (YimianDai/open-aff @ 0bcfd8a): four times the
width, a BN without scale and shift for the images, average pooling before the 1x1 of a shortcut.
It is named 6b + 2 like its layers. The tables of the first version had a strided 1x1:
`shortcut=conv1x1`.
"""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from models.layers import conv1x1, conv3x3
from models.pretrained import load_into
from models.resnet import STEMS, average_pool, residual_stages
from models.slots import Slots
from models.stem import choose_stem


class PreActBasicBlock(nn.Module):
    """BN, ReLU, 3x3, twice; its middle convolution is the first."""

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
        self.bn1 = slots.make_norm(in_planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv1 = slots.make_conv3x3(in_planes, planes, stride)
        self.prenorm = slots.site("prenorm", planes)
        self.bn2 = slots.make_norm(planes)
        self.inner = slots.site("inner", planes)
        self.conv2 = conv3x3(planes, out_planes)
        self.branch = slots.site("branch", out_planes)
        self.downsample = downsample
        self.identity = slots.site("identity", out_planes)
        self.fusion = slots.make_fusion(out_planes)
        self.post = slots.site("post", out_planes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.prenorm(self.conv1(self.relu(self.bn1(x))))
        y = self.branch(self.conv2(self.inner(self.relu(self.bn2(y)))))
        return self.post(self.fusion(self.identity(self.downsample(x)), y))


class PreActBottleneck(nn.Module):
    """BN, ReLU and a convolution, thrice: 1x1 down, 3x3, 1x1 up."""

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
        self.bn1 = slots.make_norm(in_planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv1 = conv1x1(in_planes, planes)
        self.bn2 = slots.make_norm(planes)
        self.conv2 = slots.make_conv3x3(planes, planes, stride)
        self.prenorm = slots.site("prenorm", planes)
        self.bn3 = slots.make_norm(planes)
        self.inner = slots.site("inner", planes)
        self.conv3 = conv1x1(planes, out_planes)
        self.branch = slots.site("branch", out_planes)
        self.downsample = downsample
        self.identity = slots.site("identity", out_planes)
        self.fusion = slots.make_fusion(out_planes)
        self.post = slots.site("post", out_planes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.relu(self.bn1(x)))
        y = self.prenorm(self.conv2(self.relu(self.bn2(y))))
        y = self.branch(self.conv3(self.inner(self.relu(self.bn3(y)))))
        return self.post(self.fusion(self.identity(self.downsample(x)), y))


def pooled_conv1x1(in_planes: int, out_planes: int, stride: int) -> nn.Module:
    """AFF's shortcut: average pooling takes the stride, then a 1x1 convolution, no BN."""
    return nn.Sequential(average_pool(stride), conv1x1(in_planes, out_planes))


class PreActResNet(nn.Module):
    """(N, C, H, W) -> logits (N, num_classes); arguments as those of `ResNet`.

    `data_norm` is what the images go through first.
    """

    def __init__(
        self,
        block: Callable[..., nn.Module],
        depths: Sequence[int],
        planes: Sequence[int] = (16, 32, 64),
        expansion: int = 1,
        stem_planes: int = 16,
        shortcut: Callable[..., nn.Module] = conv1x1,
        data_norm: Callable[[int], nn.Module] = nn.Identity,
        num_classes: int = 1000,
        stem: str = "cifar",
        image_size: int = 224,
        slots: Slots | None = None,
        in_channels: int = 3,
        weights: str | None = None,
        weights_partial: bool = False,
    ) -> None:
        super().__init__()
        first = choose_stem(STEMS, stem)
        slots = (slots or Slots()).check_stages(len(depths))
        self.data_norm = data_norm(in_channels)
        self.conv1, self.maxpool = first.make_conv(in_channels, stem_planes), first.make_pool()
        slots = slots.at(1, first.size(image_size))
        layers, slots = residual_stages(
            block, shortcut, depths, planes, expansion, stem_planes, slots
        )
        self.layers = nn.Sequential(*layers)
        self.bn = slots.make_norm(planes[-1] * expansion)
        self.relu = nn.ReLU(inplace=True)
        self.head = slots.site("head", planes[-1] * expansion)
        self.fc = nn.Linear(planes[-1] * expansion, num_classes)
        load_into(self, weights, weights_partial)

    def forward(self, x: Tensor) -> Tensor:
        x = self.layers(self.maxpool(self.conv1(self.data_norm(x))))
        return self.fc(self.head(self.relu(self.bn(x))).mean((2, 3)))


preact_resnet164 = partial(PreActResNet, PreActBottleneck, (18, 18, 18), expansion=4)
aff_resnet32 = partial(
    PreActResNet,
    PreActBasicBlock,
    (5, 5, 5),
    planes=(64, 128, 256),
    stem_planes=64,
    shortcut=pooled_conv1x1,
    data_norm=partial(nn.BatchNorm2d, affine=False),
)
