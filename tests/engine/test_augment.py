import pytest
import torch

from engine.augment import CropFlip, Keep
from engine.keyed import uniform


def pictures(n, size=6):
    return (
        torch.arange(n * size * size * 3, dtype=torch.int64).view(n, size, size, 3).to(torch.uint8)
    )


def crop_flip_slowly(image, draws, padding):
    """Pixel by pixel: where each pixel of the result came from."""
    size = image.shape[0]
    top, left = int(draws[0] * (2 * padding + 1)), int(draws[1] * (2 * padding + 1))
    result = torch.zeros_like(image)
    for y in range(size):
        for x in range(size):
            column = size - 1 - x if draws[2] < 0.5 else x
            from_y, from_x = y + top - padding, column + left - padding
            if 0 <= from_y < size and 0 <= from_x < size:
                result[y, x] = image[from_y, from_x]
    return result


def test_crop_and_flip_move_every_pixel_where_they_should():
    images, draws = pictures(20), uniform(0, 0, torch.arange(20), 3)
    result = CropFlip(padding=2)(images, draws)
    expected = [crop_flip_slowly(*pair, padding=2) for pair in zip(images, draws, strict=True)]
    assert result.equal(torch.stack(expected))
    assert {bool(d < 0.5) for d in draws[:, 2]} == {True, False}


def test_without_padding_and_flip_nothing_changes():
    images, draws = pictures(8), uniform(0, 0, torch.arange(8), 3)
    assert CropFlip(padding=0, flip=False)(images, draws).equal(images)
    assert Keep()(images, draws).equal(images)


def test_an_image_is_treated_the_same_in_any_batch():
    images, augment = pictures(10), CropFlip(padding=2)
    whole = augment(images, uniform(1, 4, torch.arange(10), 3))
    part = torch.tensor([7, 2])
    assert augment(images[part], uniform(1, 4, part, 3)).equal(whole[part])


def test_negative_padding_is_refused():
    with pytest.raises(ValueError, match="padding must not be negative, got -1"):
        CropFlip(padding=-1)
