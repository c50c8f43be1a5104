import math

import pytest
import torch

from attn.gc import GC
from models import Slots, resnet50


def context(slow, x, pool):
    if pool == "avg":
        return slow.pooled(slow.mean, x)
    logits = slow.conv("pool.mask", x)
    _, _, height, width = slow.shape(x)
    pixels = [(h, w) for h in range(height) for w in range(width)]

    def weighted(n, c):
        weights = [math.exp(logits[n][0][h][w]) for h, w in pixels]
        terms = [a * x[n][c][h][w] for a, (h, w) in zip(weights, pixels, strict=True)]
        return sum(terms) / sum(weights)

    return [[weighted(n, c) for c in range(len(image))] for n, image in enumerate(x)]


def layer_norm(slow, name, rows):
    def normed(row):
        mean = slow.mean(row)
        deviation = math.sqrt(slow.mean([(v - mean) ** 2 for v in row]) + 1e-5)
        affine = zip(slow[f"{name}.weight"], slow[f"{name}.bias"], strict=True)
        return [w * (v - mean) / deviation + b for v, (w, b) in zip(row, affine, strict=True)]

    return [normed(row) for row in rows]


def transform(slow, name, means):
    hidden = layer_norm(slow, f"{name}.1", slow.linear(f"{name}.0", means))
    return slow.linear(f"{name}.3", slow.relu(hidden))


def formula(pool, fusions):
    def gc(slow, x):
        means = context(slow, x, pool)
        terms = {name: transform(slow, f"fusions.{name}", means) for name in fusions}

        def entry(n, c, h, w):
            y = x[n][c][h][w]
            if "mul" in terms:
                y *= slow.sigmoid(terms["mul"][n][c])
            return y + terms["add"][n][c] if "add" in terms else y

        return slow.build(slow.shape(x), entry)

    return gc


@pytest.fixture
def x():
    return torch.randn(2, 6, 2, 3, generator=torch.Generator().manual_seed(1)).double()


@pytest.mark.parametrize("pool", ["att", "avg"])
@pytest.mark.parametrize("fusions", [("add",), ("mul",), ("add", "mul")])
@pytest.mark.parametrize("training", [True, False])
def test_is_the_authors_formula(is_formula, pool, fusions, training):
    is_formula(GC(6, 2, pool, fusions), formula(pool, fusions), training)


@pytest.mark.parametrize("pool", ["att", "avg"])
def test_gradients_are_numerical(gradients_are_numerical, pool):
    gradients_are_numerical(GC(6, 2, pool, ("mul", "add")), training=True)


def test_starts_as_the_identity(x):
    assert torch.equal(GC(6, 2).double()(x), x)
    assert torch.equal(GC(6, 2, fusions=["mul"]).double()(x), x / 2)


def test_the_context_does_not_see_a_shift_of_all_logits(x):
    module = GC(6, 2).double()
    before = module.pool(x)
    torch.nn.init.constant_(module.pool.mask.bias, 5.0)
    torch.testing.assert_close(module.pool(x), before)


def test_parameters_are_2_c_squared_over_r_and_five_vectors():
    with torch.device("meta"):
        net = resnet50(slots=Slots(GC, sites=["branch"]))
    added = 2 * 20_119_552 // 16 + 3 * 15_104 // 16 + 2 * 15_104 + 16
    assert sum(p.numel() for p in net.parameters()) == 25_557_032 + added


def test_unknown_pool_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="pool=max: choose from att, avg"):
        GC(16, pool="max")


@pytest.mark.parametrize("fusions", [[], ["add", "max"]])
def test_unknown_fusions_are_refused_with_the_choices(fusions):
    with pytest.raises(ValueError, match="choose some of mul, add"):
        GC(16, fusions=fusions)


def test_reduction_that_leaves_nothing_is_refused():
    with pytest.raises(ValueError, match="reduction=16 does not fit 8 channels"):
        GC(8)
