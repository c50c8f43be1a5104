import pytest
import torch
from torch import nn

from attn.coord import CoordAttention
from models import MobileNetV2, Slots, resnet50


def formula(slow, x):
    _, channels, height, width = slow.shape(x)

    def mean(n, c, i, _):
        row = x[n][c][i] if i < height else [line[i - height] for line in x[n][c]]
        return slow.mean(row)

    means = slow.build((len(x), channels, height + width, 1), mean)
    f = slow.batch_norm("bn", slow.conv("conv", means))
    f = slow.build(
        slow.shape(f), lambda n, c, i, j: f[n][c][i][j] * min(max(f[n][c][i][j] + 3, 0), 6) / 6
    )
    gate_h, gate_w = slow.conv("conv_h", f), slow.conv("conv_w", f)

    def entry(n, c, h, w):
        down, across = gate_h[n][c][h][0], gate_w[n][c][height + w][0]
        return x[n][c][h][w] * slow.sigmoid(down) * slow.sigmoid(across)

    return slow.build(slow.shape(x), entry)


@pytest.fixture
def x():
    return torch.randn(2, 4, 2, 3, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("training", [True, False])
def test_is_the_papers_formula(is_formula, training):
    is_formula(CoordAttention(4), formula, training)


@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_numerical(gradients_are_numerical, training):
    gradients_are_numerical(CoordAttention(4), training)


@pytest.mark.parametrize(("channels", "hidden"), [(16, 8), (256, 8), (512, 16), (960, 30)])
def test_the_middle_is_never_narrower_than_8(channels, hidden):
    assert CoordAttention(channels).conv.out_channels == hidden


def test_cifar_resnet50_has_the_published_count():
    with torch.device("meta"):
        net = resnet50(num_classes=100, stem="cifar", slots=Slots(CoordAttention, sites=["branch"]))
    assert sum(p.numel() for p in net.parameters()) == 25_623_084


def test_mobilenet_v2_has_the_published_count():
    """The authors leave out the block without expansion, the only block with 32 inner channels."""

    def where_expanded(channels: int) -> nn.Module:
        return nn.Identity() if channels == 32 else CoordAttention(channels)

    with torch.device("meta"):
        net = MobileNetV2(slots=Slots(where_expanded, sites=["inner"]))
    assert sum(p.numel() for p in net.parameters()) == 3_950_648


def test_reduction_below_one_is_refused():
    with pytest.raises(ValueError, match="reduction must be positive, got 0"):
        CoordAttention(64, 0)
