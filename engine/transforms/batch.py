"""Augmentation of a whole batch on its device: (N, H, W, C) uint8 to (N, H, W, C) uint8."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Augment(Protocol):
    """A change of images (N, H, W, C) by `draws` random numbers in [0, 1) for each image."""

    draws: int

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Identity:
    """No augmentation."""

    draws = 0

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return images


@dataclass(frozen=True)
class CropFlip:
    """Zero padding, a random crop of the old size, a horizontal flip with probability 1/2."""

    padding: int = 4
    flip: bool = True
    draws = 3  # random numbers per image: two for the crop, one for the flip

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise ValueError(f"padding must not be negative, got {self.padding}")

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        n, height, width, _ = images.shape
        pad = self.padding
        both = torch.stack([images, images.flip(2)])
        padded = F.pad(both, (0, 0, pad, pad, pad, pad))
        top, left = (draws[:, :2] * (2 * pad + 1)).long().unbind(1)
        flipped = (draws[:, 2] < 0.5) & self.flip
        left = torch.where(flipped, 2 * pad - left, left)
        image = flipped * n + torch.arange(n, device=images.device)
        corner = (image * padded.shape[2] + top) * padded.shape[3] + left
        return _windows(padded, height, width).index_select(0, corner).view(images.shape)


def _windows(images: Tensor, height: int, width: int) -> Tensor:
    """A view of the window that begins at each pixel, (pixels, height, width · C).

    Whole rows of bytes are copied from it many times faster than pixels are, one by one.
    """
    *_, row, channels = images.shape
    pixels = images.numel() // channels
    last = (height - 1) * row + width  # pixels from the first to the last of a window
    strides = (channels, row * channels, 1)
    return images.contiguous().as_strided((pixels - last + 1, height, width * channels), strides)


@dataclass(frozen=True)
class Compose:
    """Two augmentations, one after the other, each with its own random numbers."""

    first: Augment
    second: Augment

    @property
    def draws(self) -> int:
        return self.first.draws + self.second.draws

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        own, others = draws.split((self.first.draws, self.second.draws), dim=1)
        return self.second(self.first(images, own), others)
