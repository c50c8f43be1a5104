"""Normalise uint8 images to float32 with mean 0 and standard deviation 1."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from statistics import fmean

import torch
from torch import Tensor

STATISTICS = {  # mean and standard deviation by channel, over the training images, in [0, 1]
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616)),
    "cifar100": ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "digits": ((0.3049, 0.3049, 0.3049), (0.3757, 0.3757, 0.3757)),
}


@dataclass(frozen=True)
class Normalize:
    """(N, H, W, C) uint8 -> (N, C, H, W) float32 of mean 0 and deviation 1, channels_last.

    `statistics` are those of RGB images. Grey images (C = 1) have their averages. The transparency
    of RGBA images (C = 4) has mean 1 and the average deviation, so that an opaque image gives 0.
    """

    statistics: str
    channels: int = 3

    def __post_init__(self) -> None:
        if self.statistics not in STATISTICS:
            raise ValueError(f"statistics={self.statistics}: choose from {', '.join(STATISTICS)}")

    def __call__(self, pixels: Tensor) -> Tensor:
        mean, std = _of_row(self.statistics, self.channels, pixels.shape[2], pixels.device)
        return _normalized(pixels, mean, std)

    def on(self, width: int, device: torch.device) -> Callable[[Tensor], Tensor]:
        """The same for images of this width, with the statistics copied to the device once."""
        mean, std = _of_row(self.statistics, self.channels, width, device)
        return partial(_normalized, mean=mean, std=std)


def _normalized(pixels: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    normalized = (pixels.flatten(2) - mean) / std
    return normalized.view(pixels.shape).permute(0, 3, 1, 2)


@cache  # for a copy to the device, step by step, would wait for it
def _of_row(
    statistics: str, channels: int, width: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Mean and deviation, in [0, 255], of each number in a row of `width` pixels, (C · width,)."""
    mean, std = (
        255 * torch.tensor(s, device=device) for s in channel_statistics(statistics, channels)
    )
    return mean.repeat(width), std.repeat(width)


def channel_statistics(
    statistics: str, channels: int
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel, in [0, 1]."""
    mean, std = STATISTICS[statistics]
    if channels == 1:
        return (fmean(mean),), (fmean(std),)
    return (*mean, *[1.0] * (channels - 3)), (*std, *[fmean(std)] * (channels - 3))
