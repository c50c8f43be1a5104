"""SKNet: Selective Kernel Networks (Li et al., 2019), https://arxiv.org/abs/1903.06586.

Reference: implus/SKNet @ 17dd708, models/sknet50.prototxt. A ResNeXt 32x4d whose 3x3 is a selective
kernel convolution, to be put into the conv slot. That one normalizes and activates what its
branches give, so no norm and no ReLU follow it.
"""

from functools import partial

from torch import Tensor, nn

from models.layers import conv1x1
from models.resnet import ResNet
from models.slots import Slots


class SKUnit(nn.Module):
    """1x1 down, SK, 1x1 up. SK contains the middle norm, so `prenorm` comes with `inner`."""

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
        self.conv1 = conv1x1(in_planes, planes)
        self.bn1 = slots.make_norm(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = slots.make_conv3x3(planes, planes, stride, groups=32)
        self.prenorm = slots.site("prenorm", planes)
        self.inner = slots.site("inner", planes)
        self.conv3 = conv1x1(planes, out_planes)
        self.bn3 = slots.make_norm(out_planes)
        self.branch = slots.site("branch", out_planes)
        self.downsample = downsample
        self.identity = slots.site("identity", out_planes)
        self.fusion = slots.make_fusion(out_planes)
        self.post = slots.site("post", out_planes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(self.relu(self.bn1(self.conv1(x))))
        y = self.branch(self.bn3(self.conv3(self.inner(self.prenorm(y)))))
        shortcut = self.identity(self.downsample(x))
        return self.post(self.relu(self.fusion(shortcut, y)))


_sknet = partial(ResNet, SKUnit, planes=(128, 256, 512, 1024), expansion=2)
sknet50 = partial(_sknet, (3, 4, 6, 3))
sknet101 = partial(_sknet, (3, 4, 23, 3))
