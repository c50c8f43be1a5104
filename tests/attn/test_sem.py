from functools import partial

import pytest
import torch
from torch import nn

from attn.se import SE
from attn.sem import CNN, FC, OPERATORS, SEM
from models import Slots, resnet83, resnet164


def fc(slow, name, means):
    return slow.linear(f"{name}.2", slow.relu(slow.linear(f"{name}.0", means)))


def cnn(slow, name, means):
    (kernel,) = slow[f"{name}.conv.weight"][0]
    reach = range(-(len(kernel) // 2), len(kernel) // 2 + 1)

    def logit(m, c):
        return sum(k * m[c + i] for k, i in zip(kernel, reach, strict=True) if 0 <= c + i < len(m))

    return [[logit(m, c) for c in range(len(m))] for m in means]


def ie(slow, name, means):
    weight, bias = slow[f"{name}.weight"], slow[f"{name}.bias"]
    return [[w * v + b for w, v, b in zip(weight, m, bias, strict=True)] for m in means]


SLOW = {"fc": fc, "cnn": cnn, "ie": ie}


def formula(operators):
    def sem(slow, x):
        means = slow.pooled(slow.mean, x)
        decision = slow.linear("decision", means)
        logits = [SLOW[o](slow, f"operators.{i}", means) for i, o in enumerate(operators)]

        def entry(n, c, h, w):
            y = x[n][c][h][w]
            for i, logit in enumerate(logits):
                y *= slow.sigmoid(slow.sigmoid(decision[n][i]) * logit[n][c])
            return y

        return slow.build(slow.shape(x), entry)

    return sem


def sem(operators):
    small = {"fc": partial(FC, reduction=2)}
    return SEM(4, [small.get(name, name) for name in operators])


@pytest.mark.parametrize("operators", [("fc", "cnn", "ie"), ("ie", "cnn"), ("fc",), ("ie", "ie")])
@pytest.mark.parametrize("training", [True, False])
def test_is_the_papers_formula(is_formula, operators, training):
    is_formula(sem(operators), formula(operators), training)


def test_gradients_are_numerical(gradients_are_numerical):
    gradients_are_numerical(sem(("fc", "cnn", "ie")), training=True)


@pytest.mark.parametrize(("channels", "kernel"), [(64, 3), (128, 5), (256, 5)])
def test_operators_have_the_authors_sizes(channels, kernel):
    module = SEM(channels)
    assert module.operators[0][0].out_features == channels // 16
    assert module.operators[1].conv.kernel_size == (kernel,)
    assert module.decision.weight.shape == (3, channels)


def test_the_gate_starts_near_a_tenth():
    x = torch.rand(8, 64, 6, 6)
    gate = SEM(64)(x) / x
    assert gate.mean().item() == pytest.approx(0.095, abs=0.01)


def test_an_operator_of_ones_own(x):
    class Negative(nn.Module):
        def __init__(self, channels):
            super().__init__()

        def forward(self, means):
            return -means

    module = SEM(4, ["ie", Negative]).double()
    assert [type(operator) for operator in module.operators] == [OPERATORS["ie"], Negative]
    assert module(x).shape == x.shape


def test_decisions_are_named_and_are_those_that_it_takes(x):
    module = sem(("fc", "ie", "ie")).double()
    decisions = module.decisions(x)
    assert list(decisions) == ["fc", "ie2", "ie3"]
    gate = 1
    for weight, operator in zip(decisions.values(), module.operators, strict=True):
        gate = gate * (weight[:, None] * operator(x.mean((2, 3)))).sigmoid()
    assert torch.allclose(module(x), x * gate[:, :, None, None], rtol=0, atol=1e-12)


def test_two_modules_of_one_list_share_nothing():
    operators = [partial(FC, reduction=8), "cnn", "ie"]
    first, second = (SEM(32, operators) for _ in range(2))
    assert not {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}


def test_unknown_operator_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="operator max: choose from fc, cnn, ie"):
        SEM(16, ["fc", "max"])


def test_no_operator_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="operators is empty: choose some of fc, cnn, ie"):
        SEM(16, [])


def test_cnn_has_one_kernel_and_no_bias():
    assert [tuple(p.shape) for p in CNN(256).parameters()] == [(1, 1, 5)]


@pytest.mark.parametrize(
    ("model", "attn", "num_classes", "expected"),
    [
        (resnet164, SEM, 10, 1_946_974),
        (resnet164, SEM, 100, 1_970_104),
        (resnet83, SEM, 100, 1_014_070),
        (resnet164, SE, 100, 1_929_388),
    ],
)
def test_networks_have_the_published_counts(model, attn, num_classes, expected):
    with torch.device("meta"):
        net = model(num_classes=num_classes, slots=Slots(attn, sites=["branch"]))
    assert sum(p.numel() for p in net.parameters()) == expected
