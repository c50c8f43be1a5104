"""Triplet attention: Rotate to Attend (Misra et al., 2021), https://arxiv.org/abs/2010.03045.

Reference: landskape-ai/triplet-attention @ 2cf02fb, MODELS/. NAM's tables call it TAM. The authors'
initialisation zeroes the BN scale of the H·W gate, and of that one only. They rotate the map where
this file reduces over an axis; the kernel of the C·H gate is the transpose of theirs. Of equal
maxima, each gets its share of the gradient here; there, one of them gets it all.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attn.fused.contract import ClosedForm, Conv

CHANNELS_LAST = {1: 3, 2: 1, 3: 2}  # where (N, H, W, C) has each axis of (N, C, H, W)


class PlaneGate(nn.Module):
    """σ(BN(conv_k([max; mean]))) of x pooled over axis `dim`, shaped to broadcast over x."""

    def __init__(self, dim: int, kernel_size: int) -> None:
        super().__init__()
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size must be odd and positive, got {kernel_size}")
        self.dim = dim
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.bn = nn.BatchNorm2d(1, momentum=0.01)
        nn.init.kaiming_normal_(self.conv.weight, mode="fan_out")

    def forward(self, x: Tensor) -> Tensor:
        pooled = torch.stack([x.amax(self.dim), x.mean(self.dim)], 1)
        pooled = pooled.contiguous(memory_format=torch.channels_last)  # 4 times as fast backward
        return self.bn(self.conv(pooled)).sigmoid().movedim(1, self.dim)

    def from_pooled(self, pooled: Tensor, conv: Conv) -> Tensor:
        """The gate (N, 1, A, B) of a pooled map (N, 2, A, B) whose channels, if any, come last."""
        weight = self.conv.weight if self.dim == 1 else self.conv.weight.mT
        return self.bn(conv(pooled, weight)).sigmoid()


class Triplet(nn.Module):
    """y = x⊙(g_cw + g_ch + g_hw)/3, each gate blind to the axis it does not name.

    `spatial=False` leaves out g_hw and divides by two.
    """

    def __init__(self, channels: int, kernel_size: int = 7, spatial: bool = True) -> None:
        super().__init__()
        self.cw = PlaneGate(2, kernel_size)
        self.ch = PlaneGate(3, kernel_size)
        if spatial:
            self.hw = PlaneGate(1, kernel_size)
            nn.init.zeros_(self.hw.bn.weight)

    def forward(self, x: Tensor) -> Tensor:
        gates = [gate(x) for gate in self.children()]
        return x * (sum(gates) / len(gates))

    def closed_form(self) -> ClosedForm:
        axes = tuple(CHANNELS_LAST[gate.dim] for gate in self.children())
        return ClosedForm(per_image=False, pooled_axes=axes, plane_gates=self.plane_gates)

    def plane_gates(self, pooled: Sequence[Tensor], conv: Conv) -> list[Tensor]:
        """A gate (N, 1, A, B) from each pooled map (N, 2, A, B), in the order of the children."""
        gates = list(self.children())
        return [
            gate.from_pooled(p, conv) / len(gates) for gate, p in zip(gates, pooled, strict=True)
        ]
