import pytest
import torch

from attn import ConstantGate, Half, Scalar, names


@pytest.mark.parametrize("training", [True, False])
def test_half_halves(is_formula, training):
    def formula(slow, x):
        return slow.build(slow.shape(x), lambda n, c, h, w: x[n][c][h][w] / 2)

    is_formula(Half(4), formula, training)


@pytest.mark.parametrize("value", [0.1, 1.5])
def test_constant_multiplies_by_its_value(x, value):
    assert torch.equal(ConstantGate(4, value)(x), x * value)


def test_constant_does_nothing_unless_told(x):
    assert torch.equal(ConstantGate(4)(x), x)


@pytest.mark.parametrize("training", [True, False])
def test_scalar_is_one_gate(is_formula, training):
    def formula(slow, x):
        gate = slow.sigmoid(slow["logit"])
        return slow.build(slow.shape(x), lambda n, c, h, w: gate * x[n][c][h][w])

    is_formula(Scalar(4), formula, training)


@pytest.mark.parametrize("control", [Half, ConstantGate, Scalar])
def test_gradients_are_numerical(gradients_are_numerical, control):
    gradients_are_numerical(control(4), training=True)


def test_scalar_starts_at_one_half_exactly(x):
    assert torch.equal(Scalar(4)(x.float()), Half(4)(x.float()))


def test_number_of_parameters():
    assert [p.numel() for p in Scalar(64).parameters()] == [1]
    assert [*Half(64).parameters(), *ConstantGate(64).parameters()] == []


def test_none_hands_the_map_through(x):
    assert names()["none"].module(4)(x) is x


def test_names_are_a_copy():
    names().clear()
    assert "none" in names()
