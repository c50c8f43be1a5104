from functools import partial

import pytest
import torch

from attn import SE


def formula(slow, x):
    hidden = slow.relu(slow.linear("fc1", slow.pooled(slow.mean, x)))
    s = slow.linear("fc2", hidden)
    return slow.build(slow.shape(x), lambda n, c, h, w: slow.sigmoid(s[n][c]) * x[n][c][h][w])


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("training", [True, False])
def test_is_the_papers_formula(is_formula, bias, training):
    is_formula(SE(4, reduction=2, bias=bias), formula, training)


@pytest.mark.parametrize("module", [SE, partial(SE, bias=False)])
def test_gradients_are_numerical(gradients_are_numerical, module):
    gradients_are_numerical(module(4, reduction=2), training=True)


def test_hidden_layer_is_c_over_r_rounded_down():
    assert SE(70).fc1.out_features == 4
    assert SE(16).fc1.out_features == 1


@pytest.mark.parametrize(("channels", "bias", "expected"), [(64, True, 580), (64, False, 512)])
def test_parameter_count(channels, bias, expected):
    assert sum(p.numel() for p in SE(channels, bias=bias).parameters()) == expected


@pytest.mark.parametrize("reduction", [17, 0, -1])
def test_reduction_that_leaves_nothing_is_refused(reduction):
    with pytest.raises(ValueError, match=f"reduction={reduction} .* choose 1 to 16"):
        SE(16, reduction=reduction)


def test_gate_depends_on_the_mean_of_each_map_only():
    module = SE(16).eval()
    x = torch.randn(1, 16, 2, 6)
    gate = module(x) / x
    shuffled = x.flatten(2)[:, :, torch.randperm(12)].reshape(1, 16, 3, 4)
    torch.testing.assert_close(module(shuffled) / shuffled, gate[:, :, :1, :1].expand(1, 16, 3, 4))
