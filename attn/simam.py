"""SimAM: A Simple, Parameter-Free Attention Module (Yang et al., 2021),
https://proceedings.mlr.press/v139/yang21o.html.

Reference: ZjjConan/SimAM @ ae98f43, networks/attentions/simam_module.py, which stands between the
3x3 convolution and its BN. Its λ is 1e-4, and 0.1 in the commands for ImageNet. The variance of one
pixel, which it has not, is 0 here.
"""

from torch import Tensor, nn

from attn.pixels import bessel


class SimAM(nn.Module):
    """y = x⊙σ(d²/(4(v + λ)) + ½), with d = x − μ and v its variance (n − 1 below), per map."""

    def __init__(self, channels: int, energy_lambda: float = 1e-4) -> None:
        super().__init__()
        self.energy_lambda = energy_lambda

    def forward(self, x: Tensor) -> Tensor:
        squares = (x - x.mean((2, 3), keepdim=True)).square()
        variance = squares.mean((2, 3), keepdim=True) * bessel(x.shape[2] * x.shape[3])
        scale = 0.25 / (variance + self.energy_lambda)
        return x * (squares * scale + 0.5).sigmoid()
