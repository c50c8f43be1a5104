"""NAM: Normalization-based Attention Module (Liu et al., 2021), https://arxiv.org/abs/2111.12419.

Reference: Christian-lyc/NAM @ 6e8d3e3; its HEAD has the channel gate alone, the spatial one is in
its history (afbaf4c). What the code does and the paper does not say: the weights are absolute
values, and no gradient flows through them.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from attn.fused.contract import ClosedForm, MapMoments
from attn.fused.moments import track
from attn.pixels import check_size

torch.fx.wrap("check_size")  # recorded as a call: a proxy has no size to compare

LEAST = 2**-24  # the smallest positive number of float16; torch.fx cannot ask a type for its own


def normalized(scale: Tensor) -> Tensor:
    """|γ|/Σ|γ|, cut from the graph: the weights of NAM's gates."""
    scale = scale.detach().abs()
    return scale / scale.sum().clamp_min(LEAST)  # 0/0 if all are zero


class NAMChannelGate(nn.Module):
    """x⊙σ(w⊙BN(x)) with w = |γ|/Σ|γ| over the channels; w is folded into the affine of BN."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        return x * _weighted(self.bn, x).sigmoid()

    def gate_logits(self, x: MapMoments) -> tuple[Tensor, Tensor]:
        """The logits as scale⊙x + shift, both (C,); updates the running statistics of the BN."""
        track(self.bn, x.batch_mean, x.batch_var, x.count)
        w = normalized(self.bn.weight)
        scale = w * self.bn.weight * (x.batch_var + self.bn.eps).rsqrt()
        return scale, w * self.bn.bias - scale * x.batch_mean


class NAMSpatialGate(nn.Module):
    """The same over the H·W pixels: each has its own λ, and statistics over batch and channels."""

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = tuple(size)
        self.bn = nn.BatchNorm1d(math.prod(size))

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.size, "NAM's spatial gate")
        pixels = x.flatten(2).transpose(1, 2)  # (N, HW, C): BatchNorm1d takes pixels as channels
        return x * _weighted(self.bn, pixels).transpose(1, 2).reshape(x.shape).sigmoid()


class NAM(nn.Module):
    """y = x⊙σ(w⊙BN(x)), w = |γ|/Σ|γ| over the channels; `spatial=True` gates the pixels after it.

    The spatial gate has one weight per pixel and works at one map size only; the network tells
    `size`, (H, W), to a module that asks for it.
    """

    def __init__(
        self,
        channels: int,
        spatial: bool = False,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if spatial and size is None:
            raise ValueError("spatial=True has a weight per pixel: say the map's size=(H, W)")
        self.channel = NAMChannelGate(channels)
        self.spatial = NAMSpatialGate(size) if spatial else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.spatial(self.channel(x))

    def closed_form(self) -> ClosedForm | None:
        """None with the spatial gate: its statistics do not follow from the channels' moments."""
        if isinstance(self.spatial, NAMSpatialGate):
            return None
        return ClosedForm(self.channel.gate_logits, per_image=False)

    def penalty(self) -> Tensor:
        """Σ|γ| + Σ|λ|, the sparsity term of the paper's loss, to be scaled by the recipe's p.

        The published script never applied it: it looks for `layer1..4` in a network that
        DataParallel has already wrapped.
        """
        scales = [p for name, p in self.named_parameters() if name.endswith("bn.weight")]
        return torch.cat(scales).abs().sum()


def _weighted(bn: nn.Module, x: Tensor) -> Tensor:
    """w⊙bn(x) without another pass over x."""
    w = normalized(bn.weight)
    weight, bias = w * bn.weight, w * bn.bias
    if bn.running_mean is None or (bn.training and not _is_plain(bn)):
        return functional_call(bn, {"weight": weight, "bias": bias}, (x,))
    if not bn.training:
        return F.batch_norm(x, bn.running_mean, bn.running_var, weight, bias, eps=bn.eps)
    state = bn.num_batches_tracked, bn.running_mean, bn.running_var
    return _norm_in_training(x, state, weight, bias, bn.momentum, bn.eps)


@torch.fx.wrap  # the count of batches is then part of the graph, and not of the tracing
def _norm_in_training(
    x: Tensor, state: Sequence[Tensor], weight: Tensor, bias: Tensor, momentum: float, eps: float
) -> Tensor:
    """What nn.BatchNorm2d does in training, without functional_call, which stops torch.fx."""
    batches, mean, var = state
    batches.add_(1)
    return F.batch_norm(x, mean, var, weight, bias, True, momentum, eps)


def _is_plain(bn: nn.Module) -> bool:
    """Whether nothing took the place of our norm, as SyncBatchNorm does, and nobody changed it."""
    return type(bn) in (nn.BatchNorm1d, nn.BatchNorm2d) and bn.momentum is not None
