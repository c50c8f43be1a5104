"""Crops of a single image of any size, applied while the image is read.

The pixels equal those of torchvision's transforms of PIL images, to the bit: bilinear, antialiased.
Training crops and then resizes; evaluation resizes and then crops.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image

from engine.transforms.batch import Augment, Identity

TRIES = 10
LONGEST = 100  # times the shorter side: the limit of the longer side


class Crop(ABC):
    """Cut `size` x `size` pixels from an image, with `draws` random numbers in [0, 1).

    `then` augments the batch of the cut images on the device, with further random numbers.
    """

    draws: int
    then: Augment

    @abstractmethod
    def cut(self, image: Image.Image, size: int, draws: Sequence[float]) -> Image.Image: ...


def center_crop(
    image: Image.Image, resize: int, size: int, resampling: Image.Resampling
) -> Image.Image:
    """Resize the shorter side to `resize` pixels, and keep `size` x `size` pixels of the centre.

    The arithmetic is torchvision's. ValueError if one side is more than LONGEST times the other:
    such an image of a few kB would take all memory.
    """
    short, long = sorted(image.size)
    if long > LONGEST * short:
        raise ValueError(f"its sides, {image.width} x {image.height}, are too unequal")
    other = int(resize * long / short)
    width, height = (resize, other) if image.width == short else (other, resize)
    left, top = round((width - size) / 2), round((height - size) / 2)
    resized = image if image.size == (width, height) else image.resize((width, height), resampling)
    return resized.crop((left, top, left + size, top + size))


@dataclass(frozen=True)
class CenterCrop(Crop):
    """The crop of evaluation: the shorter side becomes `resize` pixels, the centre is kept."""

    resize: int
    resampling: Image.Resampling = Image.Resampling.BILINEAR
    draws = 0
    then = Identity()

    def cut(self, image: Image.Image, size: int, draws: Sequence[float]) -> Image.Image:
        return center_crop(image, self.resize, size, self.resampling)


@dataclass(frozen=True)
class ResizedCrop(Crop):
    """A random part of the image, resized; then a horizontal flip with probability 1/2.

    `scale` bounds the area of the part, relative to the image. `ratio` bounds its width divided by
    its height; the logarithm of the ratio is uniform (Szegedy et al., 2015). Each of ten tries
    draws four numbers; if no part fits, the largest centred part within `ratio` is taken.
    """

    scale: Sequence[float] = (0.08, 1.0)
    ratio: Sequence[float] = (3 / 4, 4 / 3)
    flip: bool = True
    then: Augment = field(default_factory=Identity)
    draws = 4 * TRIES + 1

    def __post_init__(self) -> None:
        for name, bounds in (("scale", self.scale), ("ratio", self.ratio)):
            if len(bounds) != 2 or not 0 < bounds[0] <= bounds[1]:
                raise ValueError(f"{name} must be [low, high], both positive, got {list(bounds)}")
        if self.scale[1] > 1:
            raise ValueError(f"scale is a share of the image, at most 1, got {list(self.scale)}")
        if not callable(self.then):
            raise ValueError(f"then must act on batches, which {type(self.then).__name__} does not")

    def cut(self, image: Image.Image, size: int, draws: Sequence[float]) -> Image.Image:
        part = image.crop(self.box(*image.size, draws))
        part = part.resize((size, size), Image.Resampling.BILINEAR)
        flipped = self.flip and draws[4 * TRIES] < 0.5
        return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flipped else part

    def box(self, width: int, height: int, draws: Sequence[float]) -> tuple[int, int, int, int]:
        """The part (left, top, right, bottom) of an image of `width` x `height` pixels."""
        low, high = self.scale
        narrow, wide = map(math.log, self.ratio)
        for i in range(0, 4 * TRIES, 4):
            area = width * height * (low + (high - low) * draws[i])
            ratio = math.exp(narrow + (wide - narrow) * draws[i + 1])
            w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
            if 0 < w <= width and 0 < h <= height:
                top = int((height - h + 1) * draws[i + 2])
                left = int((width - w + 1) * draws[i + 3])
                return left, top, left + w, top + h
        return self._centre(width, height)

    def _centre(self, width: int, height: int) -> tuple[int, int, int, int]:
        narrow, wide = self.ratio
        w = max(1, min(width, round(height * wide)))
        h = max(1, min(height, round(width / narrow)))
        left, top = (width - w) // 2, (height - h) // 2
        return left, top, left + w, top + h
