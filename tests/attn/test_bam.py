import operator

import pytest
import torch

from attn import BAM


def channel_branch(slow, x):
    p = slow.linear("channel.fc1", slow.pooled(slow.mean, x))
    maps = [[[[v]] for v in p_n] for p_n in p]
    normed = slow.batch_norm("channel.bn", maps)
    return slow.linear("channel.fc2", slow.relu(slow.pooled(slow.mean, normed)))


def spatial_branch(slow, x, dilation):
    """The layers are numbered: conv, BN, ReLU, three times; then the last conv."""
    for conv, step in ((0, 1), (3, dilation), (6, dilation)):
        x = slow.conv(f"spatial.{conv}", x, step)
        x = slow.relu(slow.batch_norm(f"spatial.{conv + 1}", x))
    return slow.conv("spatial.9", x)


def formula(combine, dilation):
    def bam(slow, x):
        m_c, m_s = channel_branch(slow, x), spatial_branch(slow, x, dilation)
        return slow.build(
            slow.shape(x),
            lambda n, c, h, w: (
                x[n][c][h][w] * (1 + slow.sigmoid(combine(m_c[n][c], m_s[n][0][h][w])))
            ),
        )

    return bam


@pytest.mark.parametrize(("combine", "operation"), [("mul", operator.mul), ("add", operator.add)])
@pytest.mark.parametrize("training", [True, False])
def test_is_the_authors_formula(is_formula, combine, operation, training):
    module = BAM(4, reduction=2, dilation=2, combine=combine)
    is_formula(module, formula(operation, dilation=2), training)


def test_the_product_and_dilation_4_are_the_defaults(is_formula):
    is_formula(BAM(4, reduction=2), formula(operator.mul, dilation=4), training=True)


@pytest.mark.parametrize("combine", ["mul", "add"])
@pytest.mark.parametrize("training", [True, False])
def test_gradients_are_numerical(gradients_are_numerical, combine, training):
    gradients_are_numerical(BAM(4, reduction=2, dilation=1, combine=combine), training)


def test_unknown_combine_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="combine=max: choose from mul, add"):
        BAM(16, combine="max")


def test_reduction_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="reduction=16 does not fit 8 channels"):
        BAM(8)


def test_gate_lies_between_one_and_two():
    x = torch.randn(2, 16, 4, 9)
    gate = BAM(16)(x) / x
    assert gate.min() > 1
    assert gate.max() < 2


def test_parameter_count():
    channel = 2 * 64 * 4 + 4 + 64 + 2 * 4
    spatial = (64 * 4 + 4) + 2 * (9 * 4 * 4 + 4) + 3 * 2 * 4 + (4 + 1)
    assert sum(p.numel() for p in BAM(64).parameters()) == channel + spatial
