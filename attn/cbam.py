"""CBAM: Convolutional Block Attention Module (Woo et al., 2018), https://arxiv.org/abs/1807.06521.

Reference: Jongchan/attention-module @ 459efad, MODELS/cbam.py. The code has what the paper does not
mention, and what its numbers came from: a BatchNorm(1, momentum 0.01) behind the 7x7 convolution,
whose scale the authors' initialisation sets to 0, so that the spatial gate starts at 0.5. Of equal
maxima, each gets its share of the gradient here; there, one of them gets it all.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from attn.fused.moments import Moments
from attn.reduction import hidden_channels

POOLS = {
    "avg": lambda x: x.mean((2, 3)),
    "max": lambda x: x.amax((2, 3)),
    "lp": lambda x: torch.linalg.vector_norm(x, dim=(2, 3)),  # p = 2; gradient 0 at 0
    "lse": lambda x: x.flatten(2).logsumexp(2),
}
OF_MOMENTS = {
    "avg": lambda x: x.mean,
    "max": lambda x: x.max,
}  # the same, for `attn.fused.epilogue`
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

    def gate_logits(self, x: Moments) -> tuple[None, Tensor]:
        """For `attn.fused.epilogue`, if it knows all the pools."""
        return None, sum(self.mlp(OF_MOMENTS[pool](x)) for pool in self.pools)


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

    def plane_gates(
        self, pooled: Sequence[Tensor], conv: Callable[[Tensor, Tensor], Tensor]
    ) -> list[Tensor]:
        """For `attn.fused.epilogue`."""
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
        if order == "channel-first" and set(pools) <= set(OF_MOMENTS):
            self.gate_logits = gates["channel"].gate_logits
            self.pooled_axes, self.plane_gates = (3,), gates["spatial"].plane_gates

    def forward(self, x: Tensor) -> Tensor:
        return self.gates(x)
