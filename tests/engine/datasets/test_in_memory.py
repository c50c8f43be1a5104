import os
from pathlib import Path

import pytest
import torch

from engine.datasets.cifar import CIFAR
from engine.datasets.digits import Digits
from engine.transforms.normalize import STATISTICS, Normalize

REAL = os.environ.get("CIFAR100_ROOT", "")
needs_cifar100 = pytest.mark.skipif(
    not Path(REAL, "train").is_dir(), reason="CIFAR100_ROOT names no folder with the real CIFAR-100"
)


def of(images):
    """Mean and standard deviation of each channel, from the counts of the 256 values."""
    value = torch.arange(256).double() / 255
    counts = [torch.bincount(c.flatten(), minlength=256) for c in images.pixels.unbind(3)]
    share = torch.stack(counts).double() / images.pixels[..., 0].numel()
    mean = share @ value
    return mean, ((share * (value - mean[:, None]) ** 2).sum(1)).sqrt()


def test_normalize_subtracts_and_divides_by_channel():
    pixels = torch.randint(256, (2, 4, 5, 3), dtype=torch.uint8)
    result = Normalize("cifar100")(pixels)
    for c, (mean, std) in enumerate(zip(*STATISTICS["cifar100"], strict=True)):
        expected = (pixels[..., c].double() / 255 - mean) / std
        torch.testing.assert_close(result[:, c].double(), expected, rtol=0, atol=1e-6)
    assert result.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (0, 2, 1, 3)])
@pytest.mark.parametrize("statistics", STATISTICS)
def test_normalize_gives_the_bits_of_the_formula(statistics, order):
    pixels = torch.arange(256).view(2, 32, 4, 1).expand(2, 32, 4, 3).to(torch.uint8).permute(order)
    mean, std = (255 * torch.tensor(values) for values in STATISTICS[statistics])
    expected = ((pixels - mean) / std).permute(0, 3, 1, 2)
    assert Normalize(statistics)(pixels).equal(expected)


def test_normalize_is_channels_last_however_the_pixels_lie():
    pixels = torch.zeros(2, 3, 4, 5, dtype=torch.uint8).permute(0, 2, 3, 1)
    result = Normalize("cifar100")(pixels)
    assert result.shape == (2, 3, 4, 5)
    assert result.is_contiguous(memory_format=torch.channels_last)


def test_normalize_keeps_sizes_and_statistics_apart():
    small, large = (torch.full((1, size, size, 3), 90, dtype=torch.uint8) for size in (4, 8))
    for _ in range(2):
        of = [Normalize(name)(x) for name in ("cifar10", "digits") for x in (small, large)]
        assert [x.shape[2] for x in of] == [4, 8, 4, 8]
        assert of[0][..., 0, 0].equal(of[1][..., 0, 0])
        assert not of[0].equal(of[2])


def test_what_was_normalized_at_first_without_gradients_can_be_trained_on_later():
    pixels = torch.zeros(2, 5, 7, 3, dtype=torch.uint8)  # of a width that no other test has
    with torch.inference_mode():
        Normalize("cifar100")(pixels)
    convolution = torch.nn.Conv2d(3, 1, 3)
    convolution(Normalize("cifar100")(pixels)).sum().backward()
    assert convolution.weight.grad.isfinite().all()


def test_unknown_statistics_are_refused_with_the_choices():
    with pytest.raises(ValueError, match="statistics=mnist: choose from cifar10, cifar100"):
        Normalize("mnist")


def test_digits_statistics_are_those_of_its_training_images():
    images = Digits(num_classes=10, image_size=32, statistics="digits").load("train")
    for found, stated in zip(of(images), STATISTICS["digits"], strict=True):
        assert found.tolist() == pytest.approx(stated, abs=1e-4)


@needs_cifar100
def test_cifar100_is_whole_and_its_statistics_are_its_own():
    source = CIFAR(
        name="cifar100", root=REAL, num_classes=100, image_size=32, statistics="cifar100"
    )
    train, test = source.load("train"), source.load("test")
    assert (len(train), len(test)) == (50_000, 10_000)
    assert torch.bincount(train.labels).eq(500).all()
    assert torch.bincount(test.labels).eq(100).all()
    assert (train.classes[0], train.classes[99]) == ("apple", "worm")
    for found, stated in zip(of(train), STATISTICS["cifar100"], strict=True):
        assert found.tolist() == pytest.approx(stated, abs=1e-4)
