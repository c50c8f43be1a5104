import math

import pytest
import torch
from torch import nn

from attn import fusions


class OnOne(nn.Module):
    """A fusion of the two halves of a tensor's channels."""

    def __init__(self, fusion: nn.Module) -> None:
        super().__init__()
        self.f = fusion

    def forward(self, x):
        return self.f(*x.chunk(2, 1))


class Steps:
    """The steps of the formulas; maps are x[n][c][h][w]."""

    def __init__(self, slow, x) -> None:
        self.slow = slow
        half = len(x[0]) // 2
        self.x, self.y = [image[:half] for image in x], [image[half:] for image in x]
        self.shape = slow.shape(self.x)
        self.sum = self.each(lambda a, b: a + b, self.x, self.y)

    def each(self, function, *maps):
        """function(entries of the maps) at each place; maps of (N, C, 1, 1) are broadcast."""
        return self.slow.build(
            self.shape,
            lambda n, c, h, w: function(
                *(m[n][c][h % len(m[n][c])][w % len(m[n][c][0])] for m in maps)
            ),
        )

    def pool(self, z):
        return [[[[v]] for v in image] for image in self.slow.pooled(self.slow.mean, z)]

    def point(self, name, z):
        return self.slow.batch_norm(f"{name}.1", self.slow.conv(f"{name}.0", z))

    def context(self, name, z):
        return self.slow.batch_norm(
            f"{name}.4", self.slow.conv(f"{name}.3", self.slow.relu(self.point(name, z)))
        )

    def sigmoid(self, *maps):
        return self.each(lambda *v: self.slow.sigmoid(sum(v)), *maps)

    def both(self, z):
        """A(z), from each pixel and from the whole map."""
        here = self.point("f.gate.contexts.0", z)
        return self.sigmoid(here, self.point("f.gate.contexts.1.context", self.pool(z)))

    def blend(self, gate):
        return self.each(lambda g, x, y: 2 * g * y + 2 * (1 - g) * x, gate, self.x, self.y)


def concat(s):
    both = [y + x for x, y in zip(s.x, s.y, strict=True)]
    return s.slow.conv("f.conv", s.slow.batch_norm("f.bn", both))


def se(s):
    gate = s.sigmoid(s.context("f.gate.contexts.0.context", s.pool(s.y)))
    return s.each(lambda a, x, y: x + a * y, gate, s.x, s.y)


def gau(s):
    gate = s.sigmoid(s.point("f.gate.contexts.0.context", s.pool(s.y)))
    return s.each(lambda a, x, y: a * x + y, gate, s.x, s.y)


def sk(s):
    logits = s.context("f.logits", s.pool(s.sum))
    half = len(logits[0]) // 2
    first, second = [image[:half] for image in logits], [image[half:] for image in logits]

    def entry(a, b, x, y):
        return 2 * (math.exp(a) * y + math.exp(b) * x) / (math.exp(a) + math.exp(b))

    return s.each(entry, first, second, s.x, s.y)


def iterated(s, gate):
    fused = s.blend(gate("first", s.sum))
    return s.blend(gate("second", fused))


def glob_for_glob(s):
    def gate(name, z):
        return s.sigmoid(s.point(f"f.{name}.contexts.0.context", s.pool(z)))

    return iterated(s, gate)


def loca_for_loca(s):
    return iterated(s, lambda name, z: s.sigmoid(s.point(f"f.{name}.contexts.0", z)))


def glob_glob(s):
    names = [f"f.gate.contexts.{i}.context" for i in (0, 1)]
    return s.blend(s.sigmoid(*(s.context(name, s.pool(s.sum)) for name in names)))


def loca_loca(s):
    names = [f"f.gate.contexts.{i}" for i in (0, 1)]
    return s.blend(s.sigmoid(*(s.context(name, s.sum) for name in names)))


FORMULAS = {
    "ConcatFuse": concat,
    "SEFuse": se,
    "GAUFuse": gau,
    "SKFuse": sk,
    "AYforXplusY": lambda s: s.each(lambda a, x, y: a * x + y, s.both(s.y), s.x, s.y),
    "XplusAYforY": lambda s: s.each(lambda a, x, y: x + a * y, s.both(s.y), s.x, s.y),
    "AXYforXplusY": lambda s: s.each(lambda a, x, y: a * x + y, s.both(s.sum), s.x, s.y),
    "AXYforXY": lambda s: s.each(lambda a, x, y: a * (x + y), s.both(s.sum), s.x, s.y),
    "ResGlobLocaCha": lambda s: s.blend(s.both(s.sum)),
    "ResGlobCha": lambda s: s.blend(
        s.sigmoid(s.context("f.gate.contexts.0.context", s.pool(s.sum)))
    ),
    "ResLocaCha": lambda s: s.blend(s.sigmoid(s.context("f.gate.contexts.0", s.sum))),
    "ResGlobGlobCha": glob_glob,
    "ResLocaLocaCha": loca_loca,
    "ResGlobforGlobCha": glob_for_glob,
    "ResLocaforLocaCha": loca_for_loca,
}
PARAMETERS = {  # C = 64; p: a convolution C to C with BN, s: C to C/4 to C with BNs
    "ConcatFuse": 4 * 64 + 2 * 64 * 64 + 64,
    "SEFuse": 2_288,
    "GAUFuse": 4_288,
    "SKFuse": 64 * 16 + 3 * 16 + 16 * 128 + 3 * 128,
    "ResGlobGlobCha": 2 * 2_288,
    "ResLocaLocaCha": 2 * 2_288,
}


@pytest.fixture
def x():
    return torch.randn(3, 8, 2, 2, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", FORMULAS)
def test_is_the_papers_formula(is_formula, name, training):
    module = OnOne(getattr(fusions, name)(4))
    is_formula(module, lambda slow, x: FORMULAS[name](Steps(slow, x)), training)


@pytest.mark.parametrize("name", FORMULAS)
def test_gradients_are_numerical(gradients_are_numerical, name):
    gradients_are_numerical(OnOne(getattr(fusions, name)(4)), training=True)


@pytest.mark.parametrize("name", FORMULAS)
def test_number_of_parameters(name):
    module = getattr(fusions, name)(64)
    expected = PARAMETERS.get(name, 2 * 4_288)  # most have two convolutions C to C
    assert sum(p.numel() for p in module.parameters()) == expected


@pytest.mark.parametrize("name", ["SEFuse", "SKFuse", "ResGlobGlobCha", "ResLocaLocaCha"])
def test_reduction_that_leaves_nothing_is_refused(name):
    with pytest.raises(ValueError, match="reduction=16 does not fit 8 channels"):
        getattr(fusions, name)(8, reduction=16)
