"""IE and IEBN: Instance Enhancement Batch Normalization (Liang et al., 2020),
https://arxiv.org/abs/1908.04008.

Reference: gbup-group/IEBN @ ed6d563, models/cifar/iebn_resnet.py, where IEBN stands for every BN
but those of the shortcuts' projections. Its gate looks at the map before it is normalised, and does
not scale β. IE alone is the same gate at a site, where it looks at the map it scales.
"""

import torch
from torch import Tensor, nn


class Enhance(nn.Module):
    """Logits w⊙m + b of the means m, (N, C). At the start w = 0 and b = −1: a gate of 0.27."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.full((channels,), -1.0))

    def forward(self, means: Tensor) -> Tensor:
        return torch.addcmul(self.bias, self.weight, means)


class IE(nn.Module):
    """y = x⊙σ(w⊙GAP(x) + b): each channel looks at itself alone."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enhance = Enhance(channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.enhance(x.mean((2, 3))).sigmoid()
        return x * gate.to(x.dtype)[:, :, None, None]


class IEBN(nn.Module):
    """y = γ⊙a⊙(x−μ)/√(v+ε) + β with a = σ(w⊙GAP(x) + b): stands where BatchNorm2d stood.

    A network whose BNs are not torch's default tells their `eps` and `momentum`.
    """

    def __init__(self, channels: int, eps: float = 1e-5, momentum: float = 0.1) -> None:
        super().__init__()
        self.enhance = Enhance(channels)
        self.bn = nn.BatchNorm2d(channels, eps, momentum, affine=False)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        scale = self.weight * self.enhance(x.mean((2, 3))).sigmoid()
        scale, shift = scale.to(x.dtype), self.bias.to(x.dtype)
        return torch.addcmul(shift[:, None, None], scale[:, :, None, None], self.bn(x))
