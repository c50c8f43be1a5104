import math

import pytest
import torch

from attn.srm import SRM
from models import Slots, resnet50


def formula(slow, x):
    def deviation(pixels):
        mean = slow.mean(pixels)
        return math.sqrt(sum((v - mean) ** 2 for v in pixels) / (len(pixels) - 1) + 1e-5)

    means, deviations = slow.pooled(slow.mean, x), slow.pooled(deviation, x)
    w_mean, w_deviation = slow["style"]
    n, channels = len(x), len(x[0])
    z = slow.build(
        (n, channels, 1, 1),
        lambda n, c, h, w: w_mean[c] * means[n][c] + w_deviation[c] * deviations[n][c],
    )
    z = slow.batch_norm("bn", z)
    return slow.build(slow.shape(x), lambda n, c, h, w: x[n][c][h][w] * slow.sigmoid(z[n][c][0][0]))


@pytest.fixture
def x():
    return torch.randn(3, 4, 2, 3, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("training", [True, False])
def test_is_the_papers_formula(is_formula, training):
    is_formula(SRM(4), formula, training)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_numerical(gradients_are_numerical, training):
    gradients_are_numerical(SRM(4), training)


@pytest.mark.parametrize("training", [True, False])
def test_the_gate_starts_at_a_half(x, training):
    assert torch.equal(SRM(4).double().train(training)(x), x / 2)


def test_one_pixel_has_no_deviation(randomize):
    module = randomize(SRM(4)).eval()
    x = torch.randn(2, 4, 1, 1).double()
    style = module.style[0] * x[:, :, 0, 0] + module.style[1] * 1e-5**0.5
    torch.testing.assert_close(module(x), x * module.bn(style).sigmoid()[:, :, None, None])


def test_four_parameters_a_channel():
    with torch.device("meta"):
        net = resnet50(slots=Slots(SRM, sites=["branch"]))
    assert sum(p.numel() for p in net.parameters()) == 25_557_032 + 4 * 15_104
