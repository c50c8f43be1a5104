"""PSA: the Pyramid Squeeze Attention of EPSANet (Zhang et al., 2021),
https://arxiv.org/abs/2105.14447.

Reference: murufeng/EPSANet @ 9955041, models/epsanet.py. As there, every branch reads the whole
input, and the softmax is over what the sigmoids give. Its output has the branches in reverse
order, which only renames channels.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attn.reduction import hidden_channels


class PSA(nn.Module):
    """y = [aᵢ⊙Fᵢ]ᵢ, Fᵢ = conv_kᵢ(x): C → C/4, a = softmaxᵢ(SE(Fᵢ)), SE(F) = σ(W₂·ReLU(W₁·GAP(F))).

    In place of a 3x3 convolution, so (N, out_channels, H/stride, W/stride) comes out. Where the
    network's convolution has groups, every branch has as many instead of its `branch_groups`.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        groups: int = 1,
        kernel_sizes: Sequence[int] = (3, 5, 7, 9),
        branch_groups: Sequence[int] = (1, 4, 8, 16),
        reduction: int = 16,
    ) -> None:
        super().__init__()
        if groups > 1:
            branch_groups = [groups] * len(kernel_sizes)
        _check(in_channels, out_channels, kernel_sizes, branch_groups)
        channels = out_channels // len(kernel_sizes)
        self.branches = nn.ModuleList(
            _conv(in_channels, channels, k, stride, g)
            for k, g in zip(kernel_sizes, branch_groups, strict=True)
        )
        hidden = hidden_channels(channels, reduction)
        self.se = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels)
        )
        for layer in (self.se[0], self.se[2]):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        maps = [branch(x) for branch in self.branches]
        gates = torch.stack([self.se(f.mean((2, 3))).sigmoid() for f in maps], 1)
        weights = gates.softmax(1)[..., None, None].unbind(1)
        return torch.cat([weights[i] * f for i, f in enumerate(maps)], 1)


def _check(
    in_channels: int, out_channels: int, kernel_sizes: Sequence[int], groups: Sequence[int]
) -> None:
    count = len(kernel_sizes)
    if any(k < 1 or k % 2 == 0 for k in kernel_sizes):
        raise ValueError(f"kernel_sizes must be odd and positive, got {list(kernel_sizes)}")
    if len(groups) != count:
        raise ValueError(f"branch_groups={list(groups)} must be {count}, one for each kernel")
    if out_channels % count or any(in_channels % g or out_channels // count % g for g in groups):
        raise ValueError(
            f"{count} branches in groups of {list(groups)} do not divide "
            f"{in_channels} channels in, {out_channels} out"
        )


def _conv(
    in_channels: int, out_channels: int, kernel_size: int, stride: int, groups: int
) -> nn.Conv2d:
    padding = kernel_size // 2
    conv = nn.Conv2d(
        in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=False
    )
    nn.init.kaiming_normal_(conv.weight, mode="fan_out")
    return conv
