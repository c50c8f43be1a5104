import itertools
import math

import pytest
import torch

from engine.rng import uniform
from engine.transforms.batch import Compose, CropFlip, Identity
from engine.transforms.randaugment import RandAugment


def pictures(n, height=6, width=6, channels=3):
    shape = (n, height, width, channels)
    return torch.arange(math.prod(shape)).view(shape).to(torch.uint8)


def crop_flip_slowly(image, draws, padding, flip):
    """Crop and flip pixel by pixel."""
    height, width, _ = image.shape
    top, left = int(draws[0] * (2 * padding + 1)), int(draws[1] * (2 * padding + 1))
    result = torch.zeros_like(image)
    for y in range(height):
        for x in range(width):
            column = width - 1 - x if flip and draws[2] < 0.5 else x
            from_y, from_x = y + top - padding, column + left - padding
            if 0 <= from_y < height and 0 <= from_x < width:
                result[y, x] = image[from_y, from_x]
    return result


@pytest.mark.parametrize("flip", [True, False])
@pytest.mark.parametrize("padding", [0, 1, 4])
@pytest.mark.parametrize("shape", [(6, 6, 3), (3, 5, 1), (5, 2, 4)])
def test_crop_and_flip_move_every_pixel_where_they_should(shape, padding, flip):
    images, draws = pictures(20, *shape), uniform(0, 0, torch.arange(20), 3)
    result = CropFlip(padding, flip)(images, draws)
    expected = [crop_flip_slowly(*both, padding, flip) for both in zip(images, draws, strict=True)]
    assert result.equal(torch.stack(expected))
    assert {bool(d < 0.5) for d in draws[:, 2]} == {True, False}


@pytest.mark.parametrize("order", [(0, 3, 1, 2), (3, 0, 1, 2), (2, 1, 0, 3)])
def test_images_may_lie_in_memory_in_any_order(order):
    images, draws = pictures(7, 7, 7, 7), uniform(0, 0, torch.arange(7), 3)
    images = images.permute(order)
    assert CropFlip()(images, draws).equal(CropFlip()(images.contiguous(), draws))


def test_one_after_another_each_has_its_own_draws():
    images, draws = pictures(9, 8, 8), uniform(0, 0, torch.arange(9), 5)
    first, second = RandAugment(9), CropFlip(padding=2)
    expected = second(first(images, draws[:, :2]), draws[:, 2:])
    assert Compose(first, second)(images, draws).equal(expected)
    assert not expected.equal(images)


@pytest.mark.parametrize("draw", [*itertools.product((0.0, 1 - 2**-24), repeat=3)])
def test_the_outermost_crops_are_those_of_their_own_image(draw):
    images, draws = pictures(3), torch.tensor([draw] * 3)
    expected = [crop_flip_slowly(*both, 3, True) for both in zip(images, draws, strict=True)]
    assert CropFlip(padding=3)(images, draws).equal(torch.stack(expected))


def test_without_padding_and_flip_nothing_changes():
    images, draws = pictures(8), uniform(0, 0, torch.arange(8), 3)
    assert CropFlip(padding=0, flip=False)(images, draws).equal(images)
    assert Identity()(images, draws).equal(images)


def test_an_image_is_treated_the_same_in_any_batch():
    images, augment = pictures(10), CropFlip(padding=2)
    whole = augment(images, uniform(1, 4, torch.arange(10), 3))
    part = torch.tensor([7, 2])
    assert augment(images[part], uniform(1, 4, part, 3)).equal(whole[part])


def test_negative_padding_is_refused():
    with pytest.raises(ValueError, match="padding must not be negative, got -1"):
        CropFlip(padding=-1)
