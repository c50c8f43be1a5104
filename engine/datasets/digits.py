"""Digits: 1,797 handwritten digits that are part of scikit-learn; nothing is downloaded."""

import functools
from dataclasses import dataclass

import numpy as np
import torch

from engine.datasets.dataset import ImageDataset
from engine.datasets.in_memory import Images
from engine.rng import permutation

TRAIN = 1437  # of the 1,797; the others are the test set


@dataclass(frozen=True, kw_only=True)
class Digits(ImageDataset):
    """8x8 pixels with 17 grey levels, enlarged by repetition and copied to three channels."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.image_size % 8:
            raise ValueError(f"image_size must be a multiple of 8, got {self.image_size}")

    def read(self, split: str) -> Images:
        images = _read(self.image_size)
        order = permutation(0, 0, len(images))
        return images.take(order[:TRAIN] if split == "train" else order[TRAIN:])


@functools.cache
def _read(image_size: int) -> Images:
    from sklearn.datasets import load_digits  # a second to import, and only needed here

    digits = load_digits()
    grey = torch.from_numpy((digits.images * (255 / 16)).round().astype(np.uint8))
    factor = image_size // 8
    large = grey.repeat_interleave(factor, 1).repeat_interleave(factor, 2)
    pixels = large[..., None].expand(-1, -1, -1, 3).contiguous()
    return Images(pixels, torch.from_numpy(digits.target), tuple(str(d) for d in range(10)))
