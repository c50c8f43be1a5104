"""SRM: Style-based Recalibration Module (Lee, Kim, Nam, 2019), https://arxiv.org/abs/1903.10829.

Reference: hyunjaelee410/style-based-recalibration-module @ f6221c7, models/. Its deviation is that
of a sample (n − 1 below; here that of one pixel is 0). The gate starts at 0.5.
"""

import torch
from torch import Tensor, nn

from attn.fused.contract import ClosedForm
from attn.pixels import bessel

EPS = 1e-5


class SRM(nn.Module):
    """y = x⊙σ(BN(w₁⊙μ + w₂⊙s)), with μ and s = √(var + ε) over each map.

    Training needs batches above 1 (BN).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.style = nn.Parameter(torch.zeros(2, channels))
        self.bn = nn.BatchNorm1d(channels)

    def forward(self, x: Tensor) -> Tensor:
        var, mean = torch.var_mean(x, (2, 3), correction=0)
        gate = self.integrate(mean, var, x.shape[2] * x.shape[3]).sigmoid()
        return x * gate.to(x.dtype)[:, :, None, None]

    def integrate(self, mean: Tensor, var: Tensor, pixels: int) -> Tensor:
        std = (var * bessel(pixels) + EPS).sqrt()
        return self.bn(self.style[0] * mean + self.style[1] * std)

    def closed_form(self) -> ClosedForm:
        return ClosedForm(lambda x: (None, self.integrate(x.mean, x.var, x.pixels)))
