import os
from pathlib import Path

import pytest
import torch

from engine.cifar import CIFAR
from engine.digits import Digits
from engine.images import STATISTICS, Normalize

REAL = os.environ.get("CIFAR100_ROOT", "")
needs_cifar100 = pytest.mark.skipif(
    not Path(REAL, "train").is_dir(), reason="CIFAR100_ROOT names no folder with the real CIFAR-100"
)


def of(images):
    x = images.pixels.double() / 255
    return x.mean((0, 1, 2)), x.std((0, 1, 2))


def test_normalize_subtracts_and_divides_by_channel():
    pixels = torch.randint(256, (2, 4, 5, 3), dtype=torch.uint8)
    result = Normalize("cifar100")(pixels)
    for c, (mean, std) in enumerate(zip(*STATISTICS["cifar100"], strict=True)):
        expected = (pixels[..., c].double() / 255 - mean) / std
        torch.testing.assert_close(result[:, c].double(), expected, rtol=0, atol=1e-6)
    assert result.is_contiguous(memory_format=torch.channels_last)


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
