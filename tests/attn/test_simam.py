import pytest
import torch

from attn.simam import SimAM
from models import Slots, resnet20


def formula(energy_lambda):
    def simam(slow, x):
        means = slow.pooled(slow.mean, x)

        def variance(pixels):
            return sum((v - slow.mean(pixels)) ** 2 for v in pixels) / (len(pixels) - 1)

        variances = slow.pooled(variance, x)

        def entry(n, c, h, w):
            d = x[n][c][h][w] - means[n][c]
            importance = d**2 / (4 * (variances[n][c] + energy_lambda)) + 0.5
            return x[n][c][h][w] * slow.sigmoid(importance)

        return slow.build(slow.shape(x), entry)

    return simam


@pytest.mark.parametrize("energy_lambda", [1e-4, 0.1])
@pytest.mark.parametrize("training", [True, False])
def test_is_the_papers_formula(is_formula, energy_lambda, training):
    is_formula(SimAM(4, energy_lambda), formula(energy_lambda), training)


def test_gradients_are_numerical(gradients_are_numerical):
    gradients_are_numerical(SimAM(4), training=True)


def test_has_no_parameters_and_lambda_1e_4():
    module = SimAM(64)
    assert not module.state_dict()
    assert module.energy_lambda == 1e-4


@pytest.mark.parametrize("value", [0.0, 7.0])
def test_a_constant_map_gets_the_smallest_gate(value):
    x = torch.full((1, 2, 4, 4), value)
    assert torch.equal(SimAM(2)(x), x * torch.tensor(0.5).sigmoid())
    assert torch.equal(SimAM(2)(x[:, :, :1, :1]), x[:, :, :1, :1] * torch.tensor(0.5).sigmoid())


def test_stands_between_convolution_and_norm():
    net = resnet20(slots=Slots(SimAM, sites=["prenorm"])).eval()
    order = []
    block = net.layer1[0]
    for name in ("conv1", "prenorm", "bn1"):
        getattr(block, name).register_forward_hook(lambda *_, name=name: order.append(name))
    net(torch.randn(1, 3, 32, 32))
    assert order == ["conv1", "prenorm", "bn1"]
