import math

import pytest
import torch

from attn.ema import EMA
from models import Slots, resnet50


def softmax(values):
    total = sum(math.exp(v) for v in values)
    return [math.exp(v) / total for v in values]


def normed(slow, x):
    """Normalise every map alone; then apply γ and β of its channel in the group."""
    means = slow.pooled(slow.mean, x)
    variances = slow.pooled(lambda p: slow.mean([(v - slow.mean(p)) ** 2 for v in p]), x)

    def entry(n, c, h, w):
        v = (x[n][c][h][w] - means[n][c]) / math.sqrt(variances[n][c] + 1e-5)
        return slow["norm_weight"][c] * v + slow["norm_bias"][c]

    return slow.build(slow.shape(x), entry)


def group(slow, x):
    """The module on one group: x[n] has C/G channels."""
    _, channels, height, width = slow.shape(x)

    def mean(n, c, i, _):
        return slow.mean(x[n][c][i] if i < height else [line[i - height] for line in x[n][c]])

    means = slow.build((len(x), channels, height + width, 1), mean)
    gates = slow.conv("conv1x1", means)

    def gated(n, c, h, w):
        down, across = gates[n][c][h][0], gates[n][c][height + w][0]
        return x[n][c][h][w] * slow.sigmoid(down) * slow.sigmoid(across)

    u = normed(slow, slow.build(slow.shape(x), gated))
    v = slow.conv("conv3x3", x)
    a = [softmax(m) for m in slow.pooled(slow.mean, u)]
    b = [softmax(m) for m in slow.pooled(slow.mean, v)]

    def entry(n, c, h, w):
        products = (a[n][k] * v[n][k][h][w] + b[n][k] * u[n][k][h][w] for k in range(channels))
        return x[n][c][h][w] * slow.sigmoid(sum(products))

    return slow.build(slow.shape(x), entry)


def formula(groups):
    def ema(slow, x):
        width = len(x[0]) // groups
        parts = [
            group(slow, [image[g * width : (g + 1) * width] for image in x]) for g in range(groups)
        ]
        return slow.build(slow.shape(x), lambda n, c, h, w: parts[c // width][n][c % width][h][w])

    return ema


@pytest.fixture
def x():
    return torch.randn(2, 6, 2, 3, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("training", [True, False])
def test_is_the_authors_formula(is_formula, groups, training):
    is_formula(EMA(6, groups), formula(groups), training)


def test_gradients_are_numerical(gradients_are_numerical):
    gradients_are_numerical(EMA(6, 2), training=True)


def test_groups_share_their_parameters():
    k = 256 // 32
    assert sum(p.numel() for p in EMA(256).parameters()) == 10 * k * k + 4 * k


def test_count_in_the_cifar_resnet50_of_the_tables():
    """The authors print 23.85 M, the count with EMA in the twelve blocks without a projection."""
    with torch.device("meta"):
        net = resnet50(num_classes=100, stem="cifar", slots=Slots(EMA, sites=["branch"]))
    without = sum(
        p.numel() for s in (1, 2, 3, 4) for p in getattr(net, f"layer{s}")[0].branch.parameters()
    )
    total = sum(p.numel() for p in net.parameters())
    assert total == 23_903_620
    assert round((total - without) / 1e6, 2) == 23.85


@pytest.mark.parametrize(("channels", "groups"), [(48, 32), (16, 32), (16, 0)])
def test_groups_that_do_not_divide_the_channels_are_refused(channels, groups):
    with pytest.raises(ValueError, match=f"groups={groups} does not divide {channels} channels"):
        EMA(channels, groups)
