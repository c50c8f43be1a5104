from functools import partial

import pytest
import torch
from torch import nn

from attn.aff import AFF, IAFF


class OnOne(nn.Module):
    """A fusion of the two halves of a tensor's channels."""

    def __init__(self, fusion: nn.Module) -> None:
        super().__init__()
        self.fusion = fusion

    def forward(self, x):
        return self.fusion(*x.chunk(2, 1))


def context(slow, name, z):
    hidden = slow.relu(slow.batch_norm(f"{name}.1", slow.conv(f"{name}.0", z)))
    return slow.batch_norm(f"{name}.4", slow.conv(f"{name}.3", hidden))


def gate(slow, name, z):
    means = [[[[v]] for v in image] for image in slow.pooled(slow.mean, z)]
    here = context(slow, f"{name}.local_context", z)
    everywhere = context(slow, f"{name}.global_context", means)

    def entry(n, c, h, w):
        return slow.sigmoid(here[n][c][h][w] + everywhere[n][c][0][0])

    return slow.build(slow.shape(z), entry)


def halves(slow, x):
    half = len(x[0]) // 2
    return [image[:half] for image in x], [image[half:] for image in x]


def mixed(slow, m, shortcut, branch, factor):
    def entry(n, c, h, w):
        g = m[n][c][h][w]
        return factor * (g * branch[n][c][h][w] + (1 - g) * shortcut[n][c][h][w])

    return slow.build(slow.shape(branch), entry)


def aff(slow, x, factor):
    shortcut, branch = halves(slow, x)
    total = slow.build(
        slow.shape(branch), lambda n, c, h, w: shortcut[n][c][h][w] + branch[n][c][h][w]
    )
    return mixed(slow, gate(slow, "fusion.mscam", total), shortcut, branch, factor)


def iaff(slow, x, factor):
    shortcut, branch = halves(slow, x)
    total = slow.build(
        slow.shape(branch), lambda n, c, h, w: shortcut[n][c][h][w] + branch[n][c][h][w]
    )
    fused = mixed(slow, gate(slow, "fusion.first", total), shortcut, branch, factor)
    return mixed(slow, gate(slow, "fusion.second", fused), shortcut, branch, factor)


@pytest.fixture
def x():
    return torch.randn(3, 8, 2, 3, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("factor", [2.0, 1.0])
@pytest.mark.parametrize(("fusion", "formula"), [(AFF, aff), (IAFF, iaff)])
def test_is_the_papers_formula(is_formula, fusion, formula, factor, training):
    module = OnOne(fusion(4, reduction=2, factor=factor))
    is_formula(module, partial(formula, factor=factor), training)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fusion", [AFF, IAFF])
def test_gradients_are_numerical(gradients_are_numerical, fusion, training):
    gradients_are_numerical(OnOne(fusion(4, reduction=2)), training)


@pytest.mark.parametrize(("fusion", "scale"), [(AFF, 1.0), (IAFF, 0.5)])
def test_gates_of_a_half_give_the_sum_and_for_iaff_half_of_it(fusion, scale):
    module = fusion(8).eval()
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.zeros_(m.weight)
    shortcut, branch = torch.randn(2, 2, 8, 3, 3)
    torch.testing.assert_close(module(shortcut, branch), scale * (shortcut + branch))


@pytest.mark.parametrize(("fusion", "contexts"), [(AFF, 2), (IAFF, 4)])
def test_number_of_parameters(fusion, contexts):
    c, hidden = 64, 16
    each = 2 * c * hidden + hidden + c + 2 * hidden + 2 * c
    assert sum(p.numel() for p in fusion(c).parameters()) == contexts * each


def test_the_second_step_has_contexts_of_its_own():
    """Unlike the authors' PyTorch port, which runs the first global context twice."""
    module = IAFF(8)
    module(*torch.randn(2, 2, 8, 3, 3)).square().sum().backward()
    assert all(p.grad is not None for p in module.parameters())


def test_reduction_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="reduction=16 does not fit 8 channels"):
        AFF(8, reduction=16)
