"""The end of a block as one region: passes over the map, and what autograd does between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

from attn.fused.kernels import Passes
from attn.fused.moments import Moments


@dataclass
class Small:
    """Results that follow from leaves by ordinary autograd, none of them as large as the map."""

    leaves: Sequence[Tensor]
    results: Sequence[Tensor]

    @property
    def values(self) -> list[Tensor]:
        return [r.detach() for r in self.results]

    def gradients(
        self, of_results: Sequence[Tensor], parameters: Sequence[Tensor]
    ) -> tuple[Sequence[Tensor | None], Sequence[Tensor | None]]:
        """Of the leaves and of the parameters."""
        inputs = (*self.leaves, *parameters)
        found = torch.autograd.grad(
            self.results, inputs, of_results, retain_graph=True, allow_unused=True
        )
        return found[: len(self.leaves)], found[len(self.leaves) :]


class FusedEpilogueFunction(Function):
    """Forward: moments, coefficients, pools, gates, output. Backward: the same the other way."""

    @staticmethod
    def forward(
        ctx,
        passes: Passes,
        norm: nn.BatchNorm2d,
        attention: nn.Module,
        relu: bool,
        y: Tensor,
        shortcut: Tensor | None,
        *parameters: nn.Parameter,
    ) -> Tensor:
        y = y.detach()  # the passes are not to be recorded
        with torch.enable_grad(), torch.autocast(y.device.type, enabled=False):
            x = Moments(passes, norm, y)
            branch = Small(x.of_y, _coefficients(x, attention))
            center, values = x.center, branch.values
            gating = _gating(passes, attention, y, center, values)
        out = passes.join(y, center, shortcut, values, gating.values, relu)
        ctx.passes, ctx.relu, ctx.adds = passes, relu, shortcut is not None
        ctx.small, ctx.parameters = (branch, gating), parameters
        ctx.axes = getattr(attention, "pooled_axes", ())
        ctx.save_for_backward(y, out if relu else None, center, *values)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, out, center, *values = ctx.saved_tensors
        branch, _ = ctx.small
        grad = grad.contiguous(memory_format=torch.channels_last)
        g = torch.ops.aten.threshold_backward(grad, out, 0) if ctx.relu else grad

        gated, of_gating = _through_gates(ctx, g, y, center, values)
        peak = branch.leaves[4] if len(branch.leaves) > 4 else None
        totals = ctx.passes.sums(g, y, center, values, gated, peak)
        of_y, of_branch = branch.gradients(totals[: len(values)], ctx.parameters)
        of_peak = None if peak is None else of_y[4] / totals[-1]
        direct = _of_map(branch.leaves, of_y, y.shape[2] * y.shape[3])
        of_map = ctx.passes.pull(g, y, center, values, gated, *direct, peak, of_peak)
        of_parameters = [
            a if b is None else b if a is None else a + b
            for a, b in zip(of_branch, of_gating, strict=True)
        ]
        return None, None, None, None, of_map, g if ctx.adds else None, *of_parameters


def _gating(
    passes: Passes, attention: nn.Module, y: Tensor, center: Tensor, values: Sequence[Tensor]
) -> Small:
    """From the pools of the branch to its gates, if it has any."""
    axes = getattr(attention, "pooled_axes", ())
    if not axes:
        return Small([], [])
    pools = [p.requires_grad_() for p in passes.pools(y, center, values, axes)]
    pooled = [
        torch.stack([p.squeeze(axis) for p in pair], 1)
        for axis, *pair in zip(axes, pools[::2], pools[1::2], strict=True)
    ]
    gates = attention.plane_gates(pooled, passes.conv)
    return Small(pools, [g.movedim(1, axis) for g, axis in zip(gates, axes, strict=True)])


def _through_gates(
    ctx, g: Tensor, y: Tensor, center: Tensor, values: Sequence[Tensor]
) -> tuple[list[Tensor], Sequence[Tensor | None]]:
    """The `planes` of `kernels`, and the gradients of the parameters behind the gates."""
    gating = ctx.small[1]
    if not gating.results:
        return [], [None] * len(ctx.parameters)
    maxima = gating.leaves[::2]
    totals = ctx.passes.gather(g, y, center, values, ctx.axes, maxima)
    of_pools, of_parameters = gating.gradients(totals[::2], ctx.parameters)
    of_maxima = [o / ties for o, ties in zip(of_pools[::2], totals[1::2], strict=True)]
    of_each = [o / (y.numel() // o.numel()) for o in of_pools[1::2]]
    planes = zip(gating.values, maxima, of_maxima, of_each, strict=True)
    return list(chain.from_iterable(planes)), of_parameters


def _coefficients(x: Moments, attention: nn.Module) -> list[Tensor]:
    """Those of `attn.fused.kernels`."""
    if not hasattr(attention, "gate_logits"):
        return [x.slope, x.offset]
    scale, shift = attention.gate_logits(x)
    if scale is None:
        gate = shift.sigmoid()
        return [x.slope * gate, x.offset * gate]
    return [x.slope, x.offset, scale, shift]


def _of_map(
    of_y: Sequence[Tensor], gradients: Sequence[Tensor | None], pixels: int
) -> tuple[Tensor, Tensor]:
    """What the gradients of the moments make that of y: constant + linear⊙(y - batch_mean)."""
    mean, _, batch_mean, *_ = of_y
    of_mean, of_var, of_batch_mean, of_batch_var, *_ = gradients
    count = len(mean) * pixels
    constant, linear = of_batch_mean / count, of_batch_var * (2 / count)
    if of_mean is not None:
        constant = constant + of_mean / pixels
    if of_var is not None:
        of_images = of_var * (2 / pixels)
        constant, linear = constant - of_images * (mean - batch_mean), linear + of_images
    return constant, linear
