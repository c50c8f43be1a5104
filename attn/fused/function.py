"""The end of a block as one region: passes over the map, and what autograd does between them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

from attn.fused.contract import ClosedForm, Conv
from attn.fused.kernels import Passes
from attn.fused.moments import NormMoments


@dataclass
class Small:
    """Results that follow from leaves by ordinary autograd, none of them as large as the map."""

    leaves: Sequence[Tensor]
    results: Sequence[Tensor]

    @property
    def values(self) -> list[Tensor]:
        return [r.detach() for r in self.results]

    def gradients(
        self, grad_results: Sequence[Tensor], parameters: Sequence[Tensor]
    ) -> tuple[Sequence[Tensor | None], Sequence[Tensor | None]]:
        """Of the leaves and of the parameters."""
        inputs = (*self.leaves, *parameters)
        found = torch.autograd.grad(
            self.results, inputs, grad_results, retain_graph=True, allow_unused=True
        )
        return found[: len(self.leaves)], found[len(self.leaves) :]


class FusedEpilogueFunction(Function):
    """Forward: moments, coefficients, pools, gates, output. Backward: the same in reverse."""

    @staticmethod
    def forward(
        ctx,
        passes: Passes,
        norm: nn.BatchNorm2d,
        form: ClosedForm,
        relu: bool,
        y: Tensor,
        shortcut: Tensor | None,
        *parameters: nn.Parameter,
    ) -> Tensor:
        y = y.detach()  # autograd must not record the passes
        with torch.enable_grad(), torch.autocast(y.device.type, enabled=False):
            leaves = [m.requires_grad_() for m in passes.moments(y)]

            def peaks(sign: Tensor) -> Tensor:
                leaves.append(passes.peaks(y, sign).requires_grad_())
                return leaves[-1]

            x = NormMoments(norm, y.shape, leaves, peaks)
            branch = Small(leaves, coefficients(x, form))
            center, values = x.center, branch.values
            gating = _gating(passes, form, y, center, values)
        out = passes.join(y, center, shortcut, values, gating.values, relu)
        ctx.passes, ctx.relu, ctx.adds = passes, relu, shortcut is not None
        ctx.small, ctx.parameters = (branch, gating), parameters
        ctx.axes = form.pooled_axes
        ctx.save_for_backward(y, out if relu else None, center, *values)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        y, out, center, *values = ctx.saved_tensors
        branch, _ = ctx.small
        grad = grad.contiguous(memory_format=torch.channels_last)
        g = torch.ops.aten.threshold_backward(grad, out, 0) if ctx.relu else grad

        gated, grad_from_gates = _through_gates(ctx, g, y, center, values)
        peak = branch.leaves[4] if len(branch.leaves) > 4 else None
        totals = ctx.passes.sums(g, y, center, values, gated, peak)
        grad_y, grad_from_branch = branch.gradients(totals[: len(values)], ctx.parameters)
        grad_peak = None if peak is None else grad_y[4] / totals[-1]
        direct = _grad_map(branch.leaves, grad_y, y.shape[2] * y.shape[3])
        grad_map = ctx.passes.pull(g, y, center, values, gated, *direct, peak, grad_peak)
        grad_parameters = [
            a if b is None else b if a is None else a + b
            for a, b in zip(grad_from_branch, grad_from_gates, strict=True)
        ]
        return None, None, None, None, grad_map, g if ctx.adds else None, *grad_parameters


def fused_epilogue(
    passes: Passes,
    norm: nn.BatchNorm2d,
    form: ClosedForm,
    attention: nn.Module,
    relu: bool,
    y: Tensor,
    shortcut: Tensor | None,
) -> Tensor:
    """relu(shortcut + attention(norm(y))) by the passes; without `shortcut` if it is None."""
    parameters = [p for m in (norm, attention) for p in m.parameters() if p.requires_grad]
    return FusedEpilogueFunction.apply(passes, norm, form, relu, y, shortcut, *parameters)


def coefficients(x: NormMoments, form: ClosedForm) -> list[Tensor]:
    """The coefficients of the branch as `attn.fused.kernels` defines them: two or four."""
    if form.gate_logits is None:
        return [x.slope, x.offset]
    scale, shift = form.gate_logits(x)
    if scale is None:
        gate = shift.sigmoid()
        return [x.slope * gate, x.offset * gate]
    return [x.slope, x.offset, scale, shift]


def plane_gates(form: ClosedForm, pools: Sequence[Tensor], conv: Conv) -> list[Tensor]:
    """The gates behind `pools`, maximum and mean for each pooled axis of (N, H, W, C) in turn.

    A pool and its gate have size 1 in the pooled axis.
    """
    pooled = [
        torch.stack([p.squeeze(axis) for p in pair], 1)
        for axis, *pair in zip(form.pooled_axes, pools[::2], pools[1::2], strict=True)
    ]
    gates = form.plane_gates(pooled, conv)
    return [g.movedim(1, axis) for g, axis in zip(gates, form.pooled_axes, strict=True)]


def _gating(
    passes: Passes, form: ClosedForm, y: Tensor, center: Tensor, values: Sequence[Tensor]
) -> Small:
    """From the pools of the branch to its gates, if it has any."""
    if not form.pooled_axes:
        return Small([], [])
    pools = [p.requires_grad_() for p in passes.pools(y, center, values, form.pooled_axes)]
    return Small(pools, plane_gates(form, pools, passes.conv))


def _through_gates(
    ctx, g: Tensor, y: Tensor, center: Tensor, values: Sequence[Tensor]
) -> tuple[list[Tensor], Sequence[Tensor | None]]:
    """The `planes` of `kernels`, and the gradients of the parameters behind the gates."""
    gating = ctx.small[1]
    if not gating.results:
        return [], [None] * len(ctx.parameters)
    maxima = gating.leaves[::2]
    totals = ctx.passes.gather(g, y, center, values, ctx.axes, maxima)
    grad_pools, grad_parameters = gating.gradients(totals[::2], ctx.parameters)
    grad_maxima = [o / ties for o, ties in zip(grad_pools[::2], totals[1::2], strict=True)]
    grad_means = [o / (y.numel() // o.numel()) for o in grad_pools[1::2]]
    planes = zip(gating.values, maxima, grad_maxima, grad_means, strict=True)
    return list(chain.from_iterable(planes)), grad_parameters


def _grad_map(
    moments: Sequence[Tensor], gradients: Sequence[Tensor | None], pixels: int
) -> tuple[Tensor, Tensor]:
    """The gradient of y through its moments, as constant + linear⊙(y - batch_mean)."""
    mean, _, batch_mean, *_ = moments
    grad_mean, grad_var, grad_batch_mean, grad_batch_var, *_ = gradients
    count = len(mean) * pixels
    constant, linear = grad_batch_mean / count, grad_batch_var * (2 / count)
    if grad_mean is not None:
        constant = constant + grad_mean / pixels
    if grad_var is not None:
        per_image = grad_var * (2 / pixels)
        constant, linear = constant - per_image * (mean - batch_mean), linear + per_image
    return constant, linear
