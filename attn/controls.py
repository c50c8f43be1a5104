"""Controls: what a gate does before it has learnt to attend.

Most attention modules halve the residual branch at initialisation. A comparison that leaves this
out credits attention with what a constant does alone.
"""

import torch
from torch import Tensor, nn


class Half(nn.Module):
    """The constant gate: y = x / 2. No parameters."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return 0.5 * x


class ConstantGate(nn.Module):
    """The constant gate: y = value * x. No parameters; value=1 is the plain network."""

    def __init__(self, channels: int, value: float = 1.0) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return self.value * x


class Scalar(nn.Module):
    """One learnable gate for the whole map: y = σ(a)·x, a = 0 at the start."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.logit.sigmoid() * x
