"""Slow versions of the formulas: nested lists x[n][c][h][w], one number at a time, no torch."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call


class Slow:
    """The steps that the papers' formulas share, on the numbers of one state_dict.

    `after` collects the running statistics that a training step must leave behind.
    """

    def __init__(self, state: dict[str, Tensor], training: bool) -> None:
        self.state = {name: value.tolist() for name, value in state.items()}
        self.training = training
        self.after = {}

    def __getitem__(self, name: str) -> list:
        return self.state[name]

    @staticmethod
    def sigmoid(v: float) -> float:
        return 1 / (1 + math.exp(-v))

    @staticmethod
    def pooled(pool, x: list) -> list:
        """pool(pixels) of every map: p[n][c]."""
        return [[pool([v for row in plane for v in row]) for plane in image] for image in x]

    @staticmethod
    def mean(values: list) -> float:
        return sum(values) / len(values)

    @staticmethod
    def build(shape: tuple, entry) -> list:
        """y[n][c][h][w] = entry(n, c, h, w)."""
        n, c, h, w = map(range, shape)
        return [[[[entry(a, b, i, j) for j in w] for i in h] for b in c] for a in n]

    @staticmethod
    def shape(x: list) -> tuple:
        return len(x), len(x[0]), len(x[0][0]), len(x[0][0][0])

    @staticmethod
    def relu(x: list | float) -> list | float:
        return [Slow.relu(v) for v in x] if isinstance(x, list) else max(x, 0.0)

    def linear(self, name: str, p: list) -> list:
        """p[n][i] -> q[n][o]."""
        weight = self[f"{name}.weight"]
        bias = self.state.get(f"{name}.bias", [0.0] * len(weight))
        rows = list(zip(weight, bias, strict=True))
        return [
            [b + sum(w * v for w, v in zip(row, p_n, strict=True)) for row, b in rows] for p_n in p
        ]

    def conv(self, name: str, x: list, dilation: int = 1) -> list:
        """Stride 1, zero padding that keeps the size of the map."""
        weight = self[f"{name}.weight"]
        bias = self.state.get(f"{name}.bias", [0.0] * len(weight))
        n, channels, height, width = self.shape(x)
        k = len(weight[0][0])

        def entry(n: int, o: int, h: int, w: int) -> float:
            total = bias[o]
            for c in range(channels):
                for i in range(k):
                    for j in range(k):
                        row, column = h + (i - k // 2) * dilation, w + (j - k // 2) * dilation
                        if 0 <= row < height and 0 <= column < width:
                            total += weight[o][c][i][j] * x[n][c][row][column]
            return total

        return self.build((n, len(weight), height, width), entry)

    def batch_norm(self, name: str, x: list, momentum: float = 0.1) -> list:
        """Statistics over batch and pixels; normalises by the biased variance, keeps the other."""
        n, channels, height, width = self.shape(x)
        means, variances = self[f"{name}.running_mean"], self[f"{name}.running_var"]
        count = n * height * width
        if self.training:
            values = [[v for image in x for row in image[c] for v in row] for c in range(channels)]
            old_means, old_variances = means, variances
            means = [self.mean(v) for v in values]
            variances = [
                self.mean([(v - m) ** 2 for v in vs]) for vs, m in zip(values, means, strict=True)
            ]
            kept = [v * count / (count - 1) for v in variances]
            self.after[f"{name}.running_mean"] = _blend(old_means, means, momentum)
            self.after[f"{name}.running_var"] = _blend(old_variances, kept, momentum)
        scale, shift = self[f"{name}.weight"], self[f"{name}.bias"]
        return self.build(
            (n, channels, height, width),
            lambda n, c, h, w: (
                scale[c] * (x[n][c][h][w] - means[c]) / math.sqrt(variances[c] + 1e-5) + shift[c]
            ),
        )


def _blend(old: list, new: list, momentum: float) -> list:
    return [(1 - momentum) * a + momentum * b for a, b in zip(old, new, strict=True)]


@pytest.fixture
def x():
    return torch.randn(2, 4, 3, 5, generator=torch.Generator().manual_seed(1)).double()


@pytest.fixture
def randomize():
    """A module in float64; no parameter or running statistic has its initial value."""

    def randomized(module: nn.Module) -> nn.Module:
        generator = torch.Generator().manual_seed(2)
        for name, value in module.state_dict().items():
            if value.is_floating_point():
                noise = torch.randn(value.shape, generator=generator)
                value.copy_(noise.abs() + 0.5 if name.endswith("running_var") else noise)
        return module.double()

    return randomized


@pytest.fixture
def is_formula(randomize, x):
    """Module and slow formula agree to 1e-12, in the output and in the running statistics."""

    def check(module: nn.Module, formula, training: bool) -> None:
        randomize(module).train(training)
        slow = Slow(module.state_dict(), training)
        expected = torch.tensor(formula(slow, x.tolist()), dtype=torch.double)
        torch.testing.assert_close(module(x), expected, rtol=0, atol=1e-12)
        for name, value in module.state_dict().items():
            if "running" in name:
                kept = torch.tensor(slow.after.get(name, slow[name]), dtype=torch.double)
                torch.testing.assert_close(value, kept, rtol=0, atol=1e-12)

    return check


@pytest.fixture
def gradients_are_numerical(randomize, x):
    """Autograd and finite differences agree, for the input and for every parameter."""

    def check(module: nn.Module, training: bool) -> None:
        randomize(module).train(training)
        names = [name for name, _ in module.named_parameters()]

        def call(x: Tensor, *parameters: Tensor) -> Tensor:
            return functional_call(module, dict(zip(names, parameters, strict=True)), (x,))

        inputs = [v.detach().clone().requires_grad_() for v in (x, *module.parameters())]
        assert torch.autograd.gradcheck(call, inputs, fast_mode=False)

    return check
