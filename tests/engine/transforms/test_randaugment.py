import math

import pytest
import torch
from torchvision.transforms import v2

from engine.errors import ConfigError
from engine.rng import uniform
from engine.transforms.batch import Compose, CropFlip
from engine.transforms.randaugment import RandAugment

KINDS = [
    "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Brightness", "Color", "Contrast",
    "Sharpness", "Posterize", "Solarize", "AutoContrast", "Equalize", "Identity",
]  # fmt: skip


def pictures(n, size=32):
    """Smooth color gradients with noise, so that every operation changes them."""
    generator = torch.Generator().manual_seed(0)
    noise = torch.randint(40, (n, size, size, 3), generator=generator)
    ramp = torch.arange(size)[:, None, None] * 2 + torch.arange(size)[:, None] * 3
    return (ramp + noise + torch.tensor([0, 20, 40])).clamp(0, 255).to(torch.uint8)


def of_torchvision(image, kind, sign, magnitude):
    """One operation of torchvision's own RandAugment at one magnitude."""
    transform = v2.RandAugment(magnitude=magnitude)
    values, signed = transform._AUGMENTATION_SPACE[kind]
    strengths = values(31, *image.shape[:2])
    strength = 0.0 if strengths is None else float(strengths[magnitude]) * (sign if signed else 1)
    chw = image.permute(2, 0, 1)
    return transform._apply_image_or_video_transform(
        chw, kind, strength, v2.InterpolationMode.NEAREST, {}
    ).permute(1, 2, 0)


@pytest.mark.parametrize("magnitude", [0, 9, 30])
@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_each_operation_is_torchvisions(kind, sign, magnitude):
    images = pictures(3)
    draw = (2 * KINDS.index(kind) + (sign > 0) + 0.5) / 28
    ours = RandAugment(magnitude, operations=1)(images, torch.full((3, 1), draw))
    theirs = torch.stack([of_torchvision(image, kind, sign, magnitude) for image in images])
    apart = (ours.int() - theirs.int()).abs()
    assert (apart > 0).double().mean() < 0.01  # a factor rounded to float32, a position of .5
    assert kind in ("Rotate", "ShearX", "ShearY") or apart.max() <= 1
    if magnitude == 30 and kind != "Identity":
        assert (ours != images).double().mean() > 0.2


def test_every_operation_is_drawn_equally_often():
    draws = uniform(0, 0, torch.arange(28_000), 1)
    counts = torch.bincount((draws[:, 0] * 28).long(), minlength=28)
    assert (counts - 1000).abs().max() < 5 * math.sqrt(1000)


@pytest.mark.parametrize("size", [1, 3, 16])
def test_an_image_is_treated_the_same_in_any_batch(size):
    images, augment = pictures(60), Compose(CropFlip(), RandAugment(15))
    order = torch.arange(60).flip(0)
    whole = augment(images, uniform(1, 4, torch.arange(60), augment.draws))
    parts = [augment(images[i], uniform(1, 4, i, augment.draws)) for i in order.split(size)]
    assert torch.cat(parts).flip(0).equal(whole)
    assert (whole != images).flatten(1).any(1).double().mean() > 0.8


def test_a_magnitude_out_of_range_is_refused():
    with pytest.raises(ValueError, match="magnitude must be from 0 to 30, got 31"):
        RandAugment(31)


def test_transparency_is_refused_and_grey_is_taken():
    each = (torch.arange(28) + 0.5) / 28
    draws = each[:, None].expand(-1, RandAugment().draws)
    grey = torch.randint(256, (28, 8, 8, 1), dtype=torch.uint8)
    assert RandAugment()(grey, draws).shape == grey.shape
    with pytest.raises(ConfigError, match=r"recipe.randaugment: .* not for data.channels=4"):
        RandAugment()(grey.expand(-1, -1, -1, 4), draws)
