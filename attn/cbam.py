"""CBAM: Convolutional Block Attention Module (Woo et al., 2018), https://arxiv.org/abs/1807.06521.

Reference: Jongchan/attention-module @ 459efad, MODELS/cbam.py. The code has what the paper does not
mention, and what its numbers came from: a BatchNorm(1, momentum 0.01) behind the 7x7 convolution,
whose scale the authors' initialisation sets to 0, so that the spatial gate starts at 0.5. Of equal
maxima, each gets its share of the gradient here; there, one of them gets it all.
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attn.fused.contract import ClosedForm, Conv, MapMoments
from attn.reduction import hidden_channels

POOLS = {
    "avg": lambda x: x.mean((2, 3)),
    "max": lambda x: x.amax((2, 3)),
    "lp": lambda x: torch.linalg.vector_norm(x, dim=(2, 3)),  # p = 2; gradient 0 at 0
    "lse": lambda x: x.flatten(2).logsumexp(2),
}
FROM_MOMENTS = {"avg": lambda x: x.mean, "max": lambda x: x.max}
ORDERS = {"channel-first": ("channel", "spatial"), "spatial-first": ("spatial", "channel")}


class ChannelGate(nn.Module):
    """Sec. 3, Eq. 2: x⊙σ(Σ_pools MLP(pool(x))), one MLP C → C/r → C shared by the pools."""

    def __init__(self, channels: int, reduction: int, pools: Sequence[str]) -> None:
        super().__init__()
        if not pools or set(pools) - set(POOLS):
            raise ValueError(f"pools={list(pools)}: choose some of {', '.join(POOLS)}")
        self.pools = tuple(pools)
        hidden = hidden_channels(channels, reduction)
        self.mlp = nn.Sequential(
            nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels)
        )
        for layer in (self.mlp[0], self.mlp[2]):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        gate = sum(self.mlp(POOLS[pool](x)) for pool in self.pools).sigmoid()
        return x * gate[:, :, None, None]

    def gate_logits(self, x: MapMoments) -> tuple[None, Tensor]:
        """The logits (N, C), if all pools are among FROM_MOMENTS."""
        return None, sum(self.mlp(FROM_MOMENTS[pool](x)) for pool in self.pools)


class SpatialGate(nn.Module):
    """Sec. 3, Eq. 3: x⊙σ(BN(conv_k([max_c(x); mean_c(x)])))."""

    def __init__(self, kernel_size: int) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(1, momentum=0.01)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")
        nn.init.zeros_(self.bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        pooled = pooled.contiguous(memory_format=torch.channels_last)  # 4 times as fast backward
        return x * self.bn(self.conv(pooled)).sigmoid()

    def plane_gates(self, pooled: Sequence[Tensor], conv: Conv) -> list[Tensor]:
        """The gate (N, 1, H, W) of one pooled map (N, 2, H, W)."""
        return [self.bn(conv(p, self.conv.weight)).sigmoid() for p in pooled]


class CBAM(nn.Module):
    """Channel gate, then spatial gate: x' = M_c(x)⊙x, y = M_s(x')⊙x'."""

    def __init__(
        self,
        channels: int,
        reduction: int = 16,
        kernel_size: int = 7,
        pools: Sequence[str] = ("avg", "max"),
        order: str = "channel-first",
    ) -> None:
        super().__init__()
        if order not in ORDERS:
            raise ValueError(f"order={order}: choose from {', '.join(ORDERS)}")
        gates = {
            "channel": ChannelGate(channels, reduction, pools),
            "spatial": SpatialGate(kernel_size),
        }
        self.gates = nn.Sequential(OrderedDict((name, gates[name]) for name in ORDERS[order]))

    def forward(self, x: Tensor) -> Tensor:
        return self.gates(x)

    def closed_form(self) -> ClosedForm | None:
        """None where the spatial gate comes first, or where a pool is no moment."""
        channel, spatial = self.gates
        if not isinstance(channel, ChannelGate) or not set(channel.pools) <= set(FROM_MOMENTS):
            return None
        return ClosedForm(channel.gate_logits, pooled_axes=(3,), plane_gates=spatial.plane_gates)
