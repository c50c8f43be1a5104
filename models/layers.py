"""Layers of the backbones. Each is initialised here: a loop over the network would reach slots."""

from collections import OrderedDict
from functools import partial

from torch import nn


def conv(
    in_planes: int,
    planes: int,
    stride: int = 1,
    groups: int = 1,
    *,
    kernel_size: int = 3,
    padding: int | None = None,
    bias: bool = False,
) -> nn.Conv2d:
    """A padded convolution, initialised as He et al. (2015) do: fan-out, ReLU."""
    padding = kernel_size // 2 if padding is None else padding
    layer = nn.Conv2d(in_planes, planes, kernel_size, stride, padding, groups=groups, bias=bias)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


conv1x1 = partial(conv, kernel_size=1)
conv3x3 = partial(conv)  # unless the network asks its conv slot for another kernel


def conv_norm_act(
    convolution: nn.Module,
    norm: nn.Module,
    act: nn.Module,
    prenorm: nn.Module | None = None,
    inner: nn.Module | None = None,
) -> nn.Sequential:
    """Convolution, norm and activation under torchvision's names 0, 1, 2; sites have own names."""
    layers = {"0": convolution, "prenorm": prenorm, "1": norm, "2": act, "inner": inner}
    return nn.Sequential(
        OrderedDict((k, layer) for k, layer in layers.items() if layer is not None)
    )


def add_feature(features: nn.Sequential, module: nn.Module) -> None:
    """Append `module` under torchvision's running number; attention has no number."""
    numbered = sum(name.isdigit() for name, _ in features.named_children())
    features.add_module(str(numbered), module)


def make_divisible(width_mult: float, channels: int) -> int:
    """`channels * width_mult` as a multiple of 8, at least 90 % of the product.

    The rounding of the MobileNets' reference code; ValueError if `width_mult` is not positive.
    """
    if width_mult <= 0:
        raise ValueError(f"width_mult must be positive, got {width_mult}")
    asked = channels * width_mult
    rounded = max(8, int(asked + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * asked else rounded
