import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from engine.rng import uniform
from engine.transforms.batch import CropFlip, Identity
from engine.transforms.crop import CenterCrop, ResizedCrop

SIZES = [(500, 375), (375, 500), (32, 32), (400, 20), (30, 600), (1, 1), (2, 3), (1600, 1200)]
DRAWS = uniform(0, 0, torch.arange(200), ResizedCrop.draws).tolist()


def picture(width, height):
    random = np.random.default_rng(0)
    small = Image.fromarray(random.integers(0, 256, (13, 17, 3), dtype=np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


class TheirNumbers:
    """Stands for `torch` in torchvision's transform and returns our draws as random numbers."""

    def __init__(self, draws):
        self.draws, self.tried, self.placed = draws, 0, 0

    def __getattr__(self, name):
        return getattr(torch, name)

    def empty(self, size):
        return self

    def uniform_(self, low, high):
        attempt, which = divmod(self.tried, 2)
        self.tried += 1
        draw = self.draws[4 * attempt + which]
        return torch.tensor(float(low) + (float(high) - float(low)) * draw, dtype=torch.float64)

    def randint(self, low, high, size):
        draw = self.draws[4 * (self.tried // 2 - 1) + 2 + self.placed]
        self.placed += 1
        return torch.tensor(int(high * draw))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", [{}, {"scale": (0.5, 0.9), "ratio": (0.9, 2.0)}])
def test_the_box_is_torchvisions_for_the_same_random_numbers(size, options, monkeypatch):
    ours, theirs, image = ResizedCrop(**options), v2.RandomResizedCrop(9, **options), None
    image = Image.new("1", size)
    for draws in DRAWS:
        monkeypatch.setattr("torchvision.transforms.v2._geometry.torch", TheirNumbers(draws))
        made = theirs.make_params([image])
        left, top = made["left"], made["top"]
        expected = (left, top, left + made["width"], top + made["height"])
        assert ours.box(*size, draws) == expected


def test_the_pixels_of_a_random_crop_are_torchvisions_to_the_bit():
    image, crop = picture(150, 110), ResizedCrop()
    flips = set()
    for draws in DRAWS[:40]:
        left, top, right, bottom = crop.box(150, 110, draws)
        expected = F.resized_crop(image, top, left, bottom - top, right - left, [32, 32])
        flips.add(draws[40] < 0.5)
        if draws[40] < 0.5:
            expected = F.horizontal_flip(expected)
        assert np.array_equal(crop.cut(image, 32, draws), expected)
    assert flips == {True, False}


@pytest.mark.parametrize("size", [(150, 110), (110, 150), (40, 40), (37, 371), (5, 4)])
@pytest.mark.parametrize(("resize", "crop"), [(36, 32), (36, 31), (32, 32)])
def test_the_pixels_of_evaluation_are_torchvisions_to_the_bit(size, resize, crop):
    image = picture(*size)
    expected = F.center_crop(F.resize(image, [resize]), [crop])
    assert np.array_equal(CenterCrop(resize).cut(image, crop, ()), expected)


def test_real_photographs_are_cut_as_torchvision_cuts_them(sample):
    for file in sorted(sample.glob("*/*.JPEG"))[:8]:
        image = Image.open(file).convert("RGB")
        expected = F.center_crop(F.resize(image, [256]), [224])
        assert np.array_equal(CenterCrop(256).cut(image, 224, ()), expected)


def test_without_a_flip_nothing_is_mirrored():
    image = picture(60, 60)
    whole = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0)}
    mirrored = [0.0] * 41
    assert np.array_equal(ResizedCrop(**whole, flip=False).cut(image, 60, mirrored), image)
    assert np.array_equal(ResizedCrop(**whole).cut(image, 60, mirrored), F.hflip(image))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": [0.5, 0.1]}, "scale must be"),
        ({"scale": [0.0, 1.0]}, "scale must be"),
        ({"scale": [0.5, 2.0]}, "at most 1"),
        ({"ratio": [1.0]}, "ratio must be"),
        ({"then": ResizedCrop()}, "then must act on batches"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        ResizedCrop(**options)


def test_what_comes_then_is_a_batched_augmentation():
    assert ResizedCrop().then == Identity()
    assert ResizedCrop(then=CropFlip()).then.draws == 3


def test_an_image_that_would_take_all_memory_is_refused():
    with pytest.raises(ValueError, match="60000 x 1, are too unequal"):
        CenterCrop(256).cut(Image.new("1", (60_000, 1)), 224, ())
