"""Augmentation of a whole batch where it lies: uint8 in, uint8 out, (N, H, W, C)."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Augment(Protocol):
    """Takes images (N, H, W, C) and `draws` random numbers in [0, 1) for each, (N, draws)."""

    draws: int

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Keep:
    """No augmentation."""

    draws = 0

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        return images


@dataclass(frozen=True)
class CropFlip:
    """Zero padding and a random crop back to size; then, half of the time, a horizontal flip."""

    padding: int = 4
    flip: bool = True
    draws = 3  # random numbers per image: two for the crop, one for the flip

    def __post_init__(self) -> None:
        if self.padding < 0:
            raise ValueError(f"padding must not be negative, got {self.padding}")

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        n, height, width, _ = images.shape
        pad = self.padding
        padded = F.pad(images, (0, 0, pad, pad, pad, pad))
        top, left = (draws[:, :2] * (2 * pad + 1)).long().unbind(1)
        rows = top[:, None] + torch.arange(height, device=images.device)
        columns = left[:, None] + torch.arange(width, device=images.device)
        flipped = (draws[:, 2:] < 0.5) & self.flip
        columns = torch.where(flipped, columns.flip(1), columns)
        batch = torch.arange(n, device=images.device)
        return padded[batch[:, None, None], rows[:, :, None], columns[:, None, :]]


@dataclass(frozen=True)
class Then:
    """One augmentation after another, each with its own draws."""

    first: Augment
    second: Augment

    @property
    def draws(self) -> int:
        return self.first.draws + self.second.draws

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        own, others = draws.split((self.first.draws, self.second.draws), dim=1)
        return self.second(self.first(images, own), others)
