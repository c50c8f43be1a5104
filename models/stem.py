"""The stem: the first convolution of a network, and the strides of the blocks that follow.

`stem="imagenet"` shrinks the map as published. `stem="cifar"` keeps 32x32 images large for longer.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

from torch import nn

from models.layers import conv


@dataclass(frozen=True)
class Stem:
    """One convolution, then a 3x3 max-pool of stride 2 if `pooled`.

    `strides` has one stride for each row of the network's table, if the stems differ in them.
    """

    kernel_size: int = 3
    stride: int = 1
    padding: int = 1
    pooled: bool = False
    strides: tuple[int, ...] = ()

    def make_conv(self, in_channels: int, planes: int, bias: bool = False) -> nn.Module:
        """The convolution of an image with `in_channels` (3: RGB) to `planes` channels."""
        geometry = {"kernel_size": self.kernel_size, "padding": self.padding}
        return conv(in_channels, planes, self.stride, bias=bias, **geometry)

    def make_pool(self) -> nn.Module:
        """The max-pool, or the identity."""
        return nn.MaxPool2d(3, 2, padding=1) if self.pooled else nn.Identity()

    def size(self, image_size: int) -> int:
        """H = W after the stem."""
        size = (image_size + 2 * self.padding - self.kernel_size) // self.stride + 1
        return math.ceil(size / 2) if self.pooled else size


def choose_stem(stems: Mapping[str, Stem], name: str) -> Stem:
    """The stem of that name; ValueError if there is none."""
    if name not in stems:
        raise ValueError(f"stem={name}: choose from {', '.join(stems)}")
    return stems[name]
