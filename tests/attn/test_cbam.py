import math

import pytest
import torch

from attn import CBAM


def lp(pixels):
    return math.sqrt(sum(v * v for v in pixels))


def lse(pixels):
    return math.log(sum(math.exp(v) for v in pixels))


def channel_gate(slow, x, pools):
    logits = []
    for pool in pools:
        hidden = slow.relu(slow.linear("gates.channel.mlp.0", slow.pooled(pool, x)))
        logits.append(slow.linear("gates.channel.mlp.2", hidden))
    return slow.build(
        slow.shape(x),
        lambda n, c, h, w: slow.sigmoid(sum(one[n][c] for one in logits)) * x[n][c][h][w],
    )


def spatial_gate(slow, x):
    n, channels, height, width = slow.shape(x)
    pools = (max, slow.mean)
    pooled = slow.build(
        (n, 2, height, width),
        lambda n, p, h, w: pools[p]([x[n][c][h][w] for c in range(channels)]),
    )
    raw = slow.conv("gates.spatial.conv", pooled)
    logits = slow.batch_norm("gates.spatial.bn", raw, momentum=0.01)
    return slow.build(
        slow.shape(x), lambda n, c, h, w: slow.sigmoid(logits[n][0][h][w]) * x[n][c][h][w]
    )


@pytest.mark.parametrize("kernel_size", [7, 3])
@pytest.mark.parametrize("training", [True, False])
def test_is_the_papers_formula(is_formula, kernel_size, training):
    is_formula(
        CBAM(4, reduction=2, kernel_size=kernel_size),
        lambda slow, x: spatial_gate(slow, channel_gate(slow, x, [slow.mean, max])),
        training,
    )


@pytest.mark.parametrize("training", [True, False])
def test_spatial_gate_can_come_first(is_formula, training):
    is_formula(
        CBAM(4, reduction=2, order="spatial-first"),
        lambda slow, x: channel_gate(slow, spatial_gate(slow, x), [slow.mean, max]),
        training,
    )


@pytest.mark.parametrize(
    ("names", "pools"),
    [
        (["avg"], [lambda v: sum(v) / len(v)]),
        (["max"], [max]),
        (["lp"], [lp]),
        (["lse"], [lse]),
        (["lse", "lp", "max"], [lse, lp, max]),
    ],
)
def test_pools_of_the_channel_gate(is_formula, names, pools):
    is_formula(
        CBAM(4, reduction=2, pools=names),
        lambda slow, x: spatial_gate(slow, channel_gate(slow, x, pools)),
        training=True,
    )


@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_numerical(gradients_are_numerical, training):
    pools = ("avg", "max", "lp", "lse")
    gradients_are_numerical(CBAM(4, reduction=2, kernel_size=3, pools=pools), training)


@pytest.mark.parametrize("training", [True, False])
def test_spatial_gate_starts_at_one_half(training):
    x = torch.randn(2, 16, 5, 6)
    module = CBAM(16).train(training)
    assert torch.equal(module.gates.spatial(x), x / 2)


@pytest.mark.parametrize("kernel_size", [4, 0, -7])
def test_even_kernel_size_is_refused(kernel_size):
    with pytest.raises(ValueError, match=f"odd and positive, got {kernel_size}"):
        CBAM(16, kernel_size=kernel_size)


@pytest.mark.parametrize("pools", [["avg", "median"], []])
def test_unknown_pool_is_refused_with_the_choices(pools):
    with pytest.raises(ValueError, match=r"pools=\[.*\]: choose some of avg, max, lp, lse"):
        CBAM(16, pools=pools)


def test_unknown_order_is_refused_with_the_choices():
    choices = "choose from channel-first, spatial-first"
    with pytest.raises(ValueError, match=f"order=parallel: {choices}"):
        CBAM(16, order="parallel")


def test_reduction_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="reduction=16 does not fit 8 channels"):
        CBAM(8)


def test_parameter_count():
    """A hidden layer of 4 with biases; a spatial convolution without bias; a BN with γ and β."""
    assert sum(p.numel() for p in CBAM(64).parameters()) == 2 * 64 * 4 + 4 + 64 + 2 * 7 * 7 + 2
