import math

import pytest
import torch
from torch.nn import functional as F

from attn.spa import SPA, Pyramid


def cells(slow, plane, side):
    """Means of side x side cells, row by row; cells overlap if they do not divide the plane."""

    def cut(values, i):
        return values[math.floor(i * len(values) / side) : math.ceil((i + 1) * len(values) / side)]

    return [
        slow.mean([v for row in cut(plane, i) for v in cut(row, j)])
        for i in range(side)
        for j in range(side)
    ]


def formula(pyramid):
    def spa(slow, x):
        pooled = [
            [v for side in pyramid for plane in image for v in cells(slow, plane, side)]
            for image in x
        ]
        gate = slow.linear("fc2", slow.relu(slow.linear("fc1", pooled)))
        return slow.build(
            slow.shape(x), lambda n, c, h, w: x[n][c][h][w] * slow.sigmoid(gate[n][c])
        )

    return spa


@pytest.mark.parametrize("size", [(8, 4), (7, 5), (2, 3)])
@pytest.mark.parametrize("training", [True, False])
class TestAtSize:
    @pytest.fixture
    def x(self, size):
        return torch.randn(2, 4, *size, generator=torch.Generator().manual_seed(1)).double()

    def test_is_the_authors_formula(self, is_formula, training):
        is_formula(SPA(4, reduction=2), formula((1, 2, 4)), training)

    def test_pyramid(self, is_formula, training):
        is_formula(SPA(4, reduction=2, pyramid=[1, 3]), formula((1, 3)), training)


def test_gradients_are_numerical(gradients_are_numerical):
    gradients_are_numerical(SPA(4, reduction=2, pyramid=(1, 2)), training=True)


@pytest.mark.parametrize("side", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(8, 8), (7, 7), (5, 9), (1, 2)])
def test_cells_are_those_of_adaptive_pooling(side, size):
    x = torch.randn(2, 3, *size).double()
    expected = F.adaptive_avg_pool2d(x, side).flatten(1)
    torch.testing.assert_close(Pyramid([side]).double()(x), expected)


def test_parameters_are_22_c_squared_over_r():
    assert sum(p.numel() for p in SPA(64).parameters()) == 22 * 64 * 64 // 16


@pytest.mark.parametrize("pyramid", [(), (0, 1)])
def test_pyramid_without_cells_is_refused(pyramid):
    with pytest.raises(ValueError, match="numbers of cells per side"):
        SPA(64, pyramid=pyramid)


def test_reduction_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="reduction=16 does not fit 8 channels"):
        SPA(8)
