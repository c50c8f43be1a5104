import math

import pytest
import torch

from attn.mscam import MSCAM


def context(slow, name, x):
    hidden = slow.relu(slow.batch_norm(f"{name}.1", slow.conv(f"{name}.0", x)))
    return slow.batch_norm(f"{name}.4", slow.conv(f"{name}.3", hidden))


def formula(slow, x):
    means = [[[[v]] for v in image] for image in slow.pooled(slow.mean, x)]
    here, everywhere = context(slow, "local_context", x), context(slow, "global_context", means)

    def entry(n, c, h, w):
        return x[n][c][h][w] * slow.sigmoid(here[n][c][h][w] + everywhere[n][c][0][0])

    return slow.build(slow.shape(x), entry)


@pytest.fixture
def x():
    return torch.randn(3, 4, 2, 3, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("training", [True, False])
def test_is_the_papers_formula(is_formula, training):
    is_formula(MSCAM(4, reduction=2), formula, training)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_numerical(gradients_are_numerical, training):
    gradients_are_numerical(MSCAM(4, reduction=2), training)


def test_the_gate_is_the_contexts_alone(x):
    module = MSCAM(4, reduction=2).double().eval()
    torch.testing.assert_close(module(x), x * module.gate(x))


def test_parameters_are_two_bottlenecks_with_norms():
    c, hidden = 256, 16
    each = 2 * c * hidden + hidden + c + 2 * hidden + 2 * c
    assert sum(p.numel() for p in MSCAM(256).parameters()) == 2 * each


def test_weights_start_as_the_authors_do():
    torch.manual_seed(0)
    weight = MSCAM(512).local_context[0].weight
    expected = math.sqrt(2 / (1 + 0.25**2)) * math.sqrt(2 / (512 + 32))
    assert weight.std().item() == pytest.approx(expected, rel=0.05)


def test_one_image_at_a_time_is_refused_in_training():
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        MSCAM(16)(torch.randn(1, 16, 4, 4))


def test_reduction_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="reduction=16 does not fit 8 channels"):
        MSCAM(8)
