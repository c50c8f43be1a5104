import math

import pytest
import torch

from attn.ea import ExternalAttention


def formula(slow, x):
    _, _, height, width = slow.shape(x)
    pixels = [(h, w) for h in range(height) for w in range(width)]

    def image(maps):
        tokens = [[plane[h][w] for plane in maps] for h, w in pixels]
        exps = [[math.exp(v) for v in row] for row in slow.linear("key", tokens)]
        totals = [sum(column) for column in zip(*exps, strict=True)]
        weights = [[e / t for e, t in zip(row, totals, strict=True)] for row in exps]
        weights = [[v / sum(row) for v in row] for row in weights]
        return dict(zip(pixels, slow.linear("value", weights), strict=True))

    images = [image(maps) for maps in x]
    return slow.build(slow.shape(x), lambda n, c, h, w: images[n][h, w][c])


@pytest.mark.parametrize("training", [True, False])
def test_is_the_formula_of_the_copy_in_use(is_formula, training):
    is_formula(ExternalAttention(4, memory=3), formula, training)


def test_gradients_are_numerical(gradients_are_numerical):
    gradients_are_numerical(ExternalAttention(4, memory=3), training=True)


def test_a_constant_map_gets_the_mean_of_the_memory():
    module = ExternalAttention(4, memory=3)
    y = module(torch.full((1, 4, 2, 3), 5.0))
    expected = module.value.weight.mean(1)[None, :, None, None].expand_as(y)
    torch.testing.assert_close(y, expected)


def test_starts_close_to_zero():
    y = ExternalAttention(64)(torch.randn(2, 64, 8, 8))
    assert 0 < y.abs().max() < 0.005


def test_two_memories_of_64_rows():
    assert sum(p.numel() for p in ExternalAttention(256).parameters()) == 2 * 64 * 256


def test_memory_without_rows_is_refused():
    with pytest.raises(ValueError, match="memory must be positive, got 0"):
        ExternalAttention(64, 0)
