"""The statistics of the normalization equal their sources."""

import pytest
import torch
from torchvision.models import ResNet50_Weights

from engine.transforms.normalize import STATISTICS, Normalize

# Mean and standard deviation of red, green and blue over the 50,000 training images; those of
# CIFAR-100 and of the digits are measured again in tests/engine/datasets/test_in_memory.py.
CIFAR10 = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))


def test_statistics_of_imagenet_are_those_of_torchvision_in_its_order_of_colors():
    theirs = ResNet50_Weights.IMAGENET1K_V1.transforms()
    assert STATISTICS["imagenet"] == (tuple(theirs.mean), tuple(theirs.std))


def test_statistics_of_cifar10():
    assert STATISTICS["cifar10"] == CIFAR10


@pytest.mark.parametrize("statistics", sorted(STATISTICS))
def test_red_comes_first(statistics):
    red = torch.tensor([[[[255, 0, 0]]]], dtype=torch.uint8)
    mean, std = STATISTICS[statistics]
    expected = [(value - m) / s for value, m, s in zip((1, 0, 0), mean, std, strict=True)]
    assert Normalize(statistics)(red).flatten().tolist() == pytest.approx(expected, rel=1e-5)


def test_grey_has_the_averages_of_rgb_and_full_opacity_is_zero():
    grey = torch.full((1, 1, 1, 1), 255, dtype=torch.uint8)
    mean, std = (sum(of) / 3 for of in STATISTICS["imagenet"])
    assert Normalize("imagenet", 1)(grey).item() == pytest.approx((1 - mean) / std)
    opaque = torch.full((1, 1, 2, 4), 255, dtype=torch.uint8)
    normalized = Normalize("imagenet", 4)(opaque)
    assert normalized[:, :3].equal(Normalize("imagenet")(opaque[..., :3]))
    assert (normalized[:, 3] == 0).all()
