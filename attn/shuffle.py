"""SA: Shuffle Attention (Zhang, Yang, 2021), https://arxiv.org/abs/2102.00240.

Reference: wofmanaf/SA-Net @ 00a6760, models/sa_resnet.py. Its 64 groups need 128 channels or more,
so no ResNet-18. Its GroupNorm has one channel per group; with the affine maps around it, it makes
one scale and one shift per map.
"""

import torch
from torch import Tensor, nn

from attn.fused.contract import ClosedForm

EPS = 1e-5


class ShuffleAttention(nn.Module):
    """u⊙σ(w_c⊙GAP(u) + b_c) and v⊙σ(w_s⊙norm(v) + b_s), u and v the halves of each of G groups.

    All groups of channels have the same parameters; norm is (v − μ)/√(var + ε)⊙γ + β per map. Then
    the two halves of all channels are interleaved. w = 0 and b = 1 at the start.
    """

    def __init__(self, channels: int, groups: int = 64) -> None:
        super().__init__()
        if groups < 1 or channels % (2 * groups):
            raise ValueError(
                f"groups={groups} does not fit {channels} channels: choose a divisor of "
                f"{channels / 2:g}"
            )
        self.groups = groups
        half = channels // (2 * groups)
        self.channel_weight = nn.Parameter(torch.zeros(half))
        self.channel_bias = nn.Parameter(torch.ones(half))
        self.spatial_weight = nn.Parameter(torch.zeros(half))
        self.spatial_bias = nn.Parameter(torch.ones(half))
        self.norm_weight = nn.Parameter(torch.ones(half))
        self.norm_bias = nn.Parameter(torch.zeros(half))

    def forward(self, x: Tensor) -> Tensor:
        var, mean = torch.var_mean(x, (2, 3), correction=0)
        affine = self.affine(mean, var)
        scale, shift = (t.to(x.dtype)[:, :, None, None] for t in affine)
        return self.interleave(x * torch.addcmul(shift, scale, x).sigmoid())

    def interleave(self, x: Tensor) -> Tensor:
        """The two halves of all channels, interleaved."""
        y = x.movedim(1, -1).unflatten(-1, (2, -1)).transpose(-1, -2).flatten(-2)
        return y.movedim(-1, 1)

    def closed_form(self) -> ClosedForm:
        return ClosedForm(lambda x: self.affine(x.mean, x.var), finish=self.interleave)

    def affine(self, mean: Tensor, var: Tensor) -> tuple[Tensor, Tensor]:
        """The logits as scale⊙x + shift, both (N, C); scale is 0 in the channel halves."""
        halves = (self.groups, 2, -1)
        u_mean, v_mean = mean.unflatten(1, halves).unbind(2)
        v_var = var.unflatten(1, halves)[:, :, 1]
        v_scale = self.spatial_weight * self.norm_weight * (v_var + EPS).rsqrt()
        v_shift = self.spatial_bias + self.spatial_weight * self.norm_bias - v_scale * v_mean
        u_shift = self.channel_bias + self.channel_weight * u_mean
        scale = torch.stack([torch.zeros_like(v_scale), v_scale], 2)
        shift = torch.stack([u_shift, v_shift], 2)
        return scale.flatten(1), shift.flatten(1)
