"""RandAugment of a whole batch, uint8 to uint8 (Cubuk et al., 2020, arXiv 1909.13719).

The 14 operations and their strengths are torchvision's. There one image at a time is changed; here
every image goes through all of them and keeps what it drew, so that nothing asks the device which
that was: one resampling for what moves pixels, and a choice for each change of color.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor
from torch.nn import functional as F

from engine.errors import ConfigError

BINS = 30  # magnitudes from 0 to 30: torchvision's 31
KINDS = 14


@dataclass(frozen=True)
class RandAugment:
    """`operations` of the 14, one after another, at `magnitude` of 30 and with either sign."""

    magnitude: int = 9
    operations: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.magnitude <= BINS:
            raise ValueError(f"magnitude must be from 0 to {BINS}, got {self.magnitude}")

    @property
    def draws(self) -> int:
        return self.operations

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        if images.shape[3] > 3:
            raise ConfigError(
                "recipe.randaugment: its changes of color are for grey and RGB images, not for "
                f"data.channels={images.shape[3]}"
            )
        pixels = images.permute(0, 3, 1, 2).contiguous()
        for draw in draws.unbind(1):
            choice = (draw * 2 * KINDS).long()  # kind after kind, each with minus and plus
            pixels = _move(pixels, choice, self.magnitude / BINS)
            for first, last, change in _colors(self.magnitude / BINS):
                changed = (choice >= first) & (choice <= last)
                pixels = torch.where(changed[:, None, None, None], change(pixels), pixels)
        return pixels.permute(0, 2, 3, 1)


def _move(pixels: Tensor, choice: Tensor, strength: float) -> Tensor:
    """Choices 0 to 9: shear x, shear y, shift x, shift y, rotate; the border is filled with 0."""
    height, width = pixels.shape[2:]
    maps = _maps(height, width, strength, pixels.device)
    of_image = maps[choice.clamp_max(len(maps) - 1)]
    a, b, c, d, e, f = of_image[:, :, None, None].unbind(1)
    y = torch.arange(height, device=pixels.device)[:, None] - (height - 1) / 2
    x = torch.arange(width, device=pixels.device) - (width - 1) / 2
    source = torch.stack([(a * x + b * y + c) * 2 / width, (d * x + e * y + f) * 2 / height], -1)
    moved = F.grid_sample(pixels.float(), source, mode="nearest", align_corners=False)
    return moved.to(torch.uint8)


@cache  # a copy to the device in each step would wait for the device
def _maps(height: int, width: int, strength: float, device: torch.device) -> Tensor:
    """(11, 6): a to f of the choices 0 to 9, and of no move. The source of pixel (x, y), both
    relative to the center, is (ax + by + c, dx + ey + f)."""
    return torch.tensor([*_moves(height, width, strength)], device=device)


def _moves(height: int, width: int, strength: float) -> Iterator[tuple[float, ...]]:
    for s in (-strength, strength):  # sheared about the upper left corner
        yield 1.0, 0.3 * s, 0.3 * s * height / 2, 0.0, 1.0, 0.0
    for s in (-strength, strength):
        yield 1.0, 0.0, 0.0, 0.3 * s, 1.0, 0.3 * s * width / 2
    for s in (-strength, strength):
        yield 1.0, 0.0, -float(int(150 / 331 * width * s)), 0.0, 1.0, 0.0
    for s in (-strength, strength):
        yield 1.0, 0.0, 0.0, 0.0, 1.0, -float(int(150 / 331 * height * s))
    for s in (-strength, strength):
        cos, sin = math.cos(math.radians(30 * s)), math.sin(math.radians(30 * s))
        yield cos, -sin, 0.0, sin, cos, 0.0
    yield 1.0, 0.0, 0.0, 0.0, 1.0, 0.0


def _colors(strength: float) -> Iterator[tuple[int, int, Callable[[Tensor], Tensor]]]:
    """(first, last, change) of the choices from 10 on; choices 26 and 27 change nothing."""
    from torchvision.transforms.v2 import functional as TF  # a second to import

    signed = (TF.adjust_brightness, TF.adjust_saturation, TF.adjust_contrast, _sharpened)
    for kind, adjust in enumerate(signed, start=5):
        for sign in (0, 1):
            factor = 1 + 0.9 * strength * (2 * sign - 1)
            yield 2 * kind + sign, 2 * kind + sign, partial(_adjusted, adjust=adjust, factor=factor)
    bits = round(8 - 4 * strength)
    yield 18, 19, partial(TF.posterize, bits=bits)
    yield 20, 21, partial(TF.solarize, threshold=255 * (1 - strength))
    yield 22, 23, TF.autocontrast
    yield 24, 25, TF.equalize


def _adjusted(pixels: Tensor, adjust: Callable[[Tensor, float], Tensor], factor: float) -> Tensor:
    return adjust(pixels, factor)


def _sharpened(pixels: Tensor, factor: float) -> Tensor:
    """As torchvision's `adjust_sharpness`, which copies its kernel to the device in each call."""
    if min(pixels.shape[2:]) < 3:
        return pixels
    sharp = pixels.float()
    channels = pixels.shape[1]
    kernel = sharp.new_full((channels, 1, 3, 3), 1 / 13)
    kernel[:, :, 1, 1] = 5 / 13
    inner = sharp[:, :, 1:-1, 1:-1]
    blurred = F.conv2d(sharp, kernel, groups=channels).round_()
    inner.add_(blurred.sub_(inner), alpha=1.0 - factor)
    return sharp.clamp_(0, 255).to(torch.uint8)
