"""Convolutions, built and initialised in one place, so that no network-wide loop reaches a slot."""

from functools import partial

from torch import nn


def conv(
    in_planes: int, planes: int, stride: int = 1, groups: int = 1, *, kernel_size: int
) -> nn.Conv2d:
    """A padded convolution without bias, initialised as He et al. (2015) do: fan-out, ReLU."""
    layer = nn.Conv2d(
        in_planes, planes, kernel_size, stride, kernel_size // 2, groups=groups, bias=False
    )
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


conv1x1 = partial(conv, kernel_size=1)
conv3x3 = partial(conv, kernel_size=3)
