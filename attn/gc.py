"""GC: GCNet, Non-local Networks Meet Squeeze-Excitation Networks and Beyond (Cao et al., 2019),
https://arxiv.org/abs/1904.11492.

Reference: xvjiarui/GCNet @ 029db54, mmdet/ops/gcb/context_block.py. The last layer starts at 0:
with `add` the block is the identity at first, with `mul` a gate of 0.5.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attn.reduction import hidden_channels


class AttentionPool(nn.Module):
    """Σ_p softmax_p(w·x_p + b)·x_p over the pixels p: (N, C, H, W) -> (N, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mask = nn.Conv2d(channels, 1, 1)
        nn.init.kaiming_normal_(self.mask.weight)
        nn.init.zeros_(self.mask.bias)

    def forward(self, x: Tensor) -> Tensor:
        weights = self.mask(x).flatten(2).softmax(2)
        return torch.bmm(x.flatten(2), weights.transpose(1, 2).to(x.dtype))[:, :, 0]


class AveragePool(nn.Module):
    """The mean over the pixels: (N, C, H, W) -> (N, C)."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Transform(nn.Sequential):
    """W₂·ReLU(LN(W₁·context)): C → C/r → C, 0 at the start."""

    def __init__(self, channels: int, hidden: int) -> None:
        last = nn.Linear(hidden, channels)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        super().__init__(
            nn.Linear(channels, hidden), nn.LayerNorm(hidden), nn.ReLU(inplace=True), last
        )


class MulContext(Transform):
    """x⊙σ(t(context))."""

    def forward(self, context: Tensor, x: Tensor) -> Tensor:
        return x * super().forward(context).sigmoid()[:, :, None, None]


class AddContext(Transform):
    """x + t(context)."""

    def forward(self, context: Tensor, x: Tensor) -> Tensor:
        return x + super().forward(context)[:, :, None, None]


POOLS = {"att": AttentionPool, "avg": AveragePool}
FUSIONS = {"mul": MulContext, "add": AddContext}


class GC(nn.Module):
    """y = x + W₂·ReLU(LN(W₁·Σ_p α_p·x_p)), α the softmax of a 1x1 convolution over the pixels.

    `pool="avg"` weighs pixels alike; `fusions` may scale by the sigmoid instead, or scale and then
    add, from one context.
    """

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        pool: str = "att",
        fusions: Sequence[str] = ("add",),
    ) -> None:
        super().__init__()
        if pool not in POOLS:
            raise ValueError(f"pool={pool}: choose from {', '.join(POOLS)}")
        if not fusions or set(fusions) - set(FUSIONS):
            raise ValueError(f"fusions={list(fusions)}: choose some of {', '.join(FUSIONS)}")
        hidden = hidden_channels(channels, reduction)
        self.pool = POOLS[pool](channels)
        chosen = [name for name in FUSIONS if name in fusions]
        self.fusions = nn.ModuleDict({name: FUSIONS[name](channels, hidden) for name in chosen})

    def forward(self, x: Tensor) -> Tensor:
        context = self.pool(x)
        for fusion in self.fusions.values():
            x = fusion(context, x)
        return x
