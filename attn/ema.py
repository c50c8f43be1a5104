"""EMA: Efficient Multi-Scale Attention (Ouyang et al., 2023), https://arxiv.org/abs/2305.13563.

Reference: YOLOonMe/EMA-attention-module @ afc37ec, EMA_attention_module. The groups share all
parameters: the reference makes a batch of them, this file repeats the kernels. One of its softmaxes
is blind to the image: u below is normalised, so its means are β, and a = softmax(β) whatever the x.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-5


class EMA(nn.Module):
    """y = x⊙σ(a·v + b·u) in each of G groups of C/G channels: one gate per group and pixel.

    u = norm(x⊙σ(W·x̄_h)⊙σ(W·x̄_w)), each map normalised, then γ and β; x̄_h is the mean of each row,
    x̄_w of each column. v = conv3x3(x). Over channels, a = softmax(GAP(u)), b = softmax(GAP(v)).
    """

    def __init__(self, channels: int, groups: int = 32) -> None:
        super().__init__()
        if groups < 1 or channels % groups:
            raise ValueError(f"groups={groups} does not divide {channels} channels")
        self.groups = groups
        width = channels // groups
        self.conv1x1 = nn.Conv2d(width, width, 1)
        self.conv3x3 = nn.Conv2d(width, width, 3, padding=1)
        self.norm_weight = nn.Parameter(torch.ones(width))
        self.norm_bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        v = self.grouped(self.conv3x3, x)
        z = x * self.gate_of_means(x)
        a = self.norm_bias.softmax(0)
        b = v.mean((2, 3)).unflatten(1, (self.groups, -1)).softmax(2)
        scale, shift = self.norm(z)  # u = scale⊙z + shift
        x, v, z = (t.unflatten(1, (self.groups, -1)) for t in (x, v, z))
        weighted = v * _maps(a, x) + z * _maps(b * scale, x)
        width = self.conv1x1.out_channels
        logits = width * weighted.mean(2, keepdim=True) + _maps((b * shift).sum(2, True), x)
        return (x * logits.sigmoid()).flatten(1, 2)

    def gate_of_means(self, x: Tensor) -> Tensor:
        rows = x.mean(3, keepdim=True)
        columns = x.mean(2, keepdim=True).transpose(2, 3)
        means = self.grouped(self.conv1x1, torch.cat([rows, columns], 2)).sigmoid()
        rows, columns = means.split(x.shape[2:], 2)
        return rows * columns.transpose(2, 3)

    def norm(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Group normalisation of one channel per group, as a scale and a shift: (N, G, C/G)."""
        var, mean = torch.var_mean(z, (2, 3), correction=0)
        var, mean = (t.unflatten(1, (self.groups, -1)) for t in (var, mean))
        scale = self.norm_weight * (var + EPS).rsqrt()
        return scale, self.norm_bias - scale * mean

    def grouped(self, conv: nn.Conv2d, x: Tensor) -> Tensor:
        """`conv` on each group of channels."""
        weight = conv.weight.repeat(self.groups, 1, 1, 1)
        bias = conv.bias.repeat(self.groups)
        return F.conv2d(x, weight, bias, padding=conv.padding, groups=self.groups)


def _maps(values: Tensor, x: Tensor) -> Tensor:
    """Values per channel, made to broadcast over the maps of x."""
    return values.to(x.dtype)[..., None, None]
