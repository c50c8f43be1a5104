"""The fused epilogue for a network that `torch.compile` compiles as a whole.

Inductor fuses the modules of a block's end by itself, but the derivative that autograd makes of
them keeps fp32 intermediates as large as the map. The functions here have a written backward pass
that recomputes these intermediates from y and the block's output, which are saved anyway. Dynamo
traces the functions, so Inductor fuses them with each other and with what stands around them.

A map is seen as rows, (N, H·W, C), as in `attn.fused.kernels`, which also has the formulas.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.autograd.function import Function

from attn.fused.contract import ClosedForm
from attn.fused.function import coefficients, plane_gates
from attn.fused.kernels import (
    branch_of,
    each,
    image_of,
    lines_of,
    rows_of,
    through_branch,
)
from attn.fused.moments import NormMoments
from attn.fused.plane_conv import conv

# For `torch.compile(model, options=...)` of a network that trains with a fused epilogue. With its
# own options, Inductor writes the recomputed intermediates to memory: many kernels read them.
INDUCTOR_OPTIONS = {
    "realize_reads_threshold": 1000,
    "realize_opcount_threshold": 10_000,
    "realize_acc_reads_threshold": 10_000,
}


def traced_epilogue(
    norm: nn.BatchNorm2d,
    form: ClosedForm,
    attention: nn.Module,
    relu: bool,
    y: Tensor,
    shortcut: Tensor | None,
) -> Tensor:
    """relu(shortcut + attention(norm(y))), y (N, C, H, W); without `shortcut` if it is None."""
    with torch.autocast(y.device.type, enabled=False):
        x = NormMoments(norm, y.shape, _moments(y, form), lambda sign: Peaks.apply(y, sign))
        center, values = x.center, coefficients(x, form)
        gates = []
        if form.pooled_axes:
            pools = Pools.apply(form.pooled_axes, y, center, *values)
            gates = plane_gates(form, pools, conv)
        return Join.apply(relu, form.pooled_axes, y, shortcut, center, *gates, *values)


def _moments(y: Tensor, form: ClosedForm) -> tuple[Tensor | None, ...]:
    """Mean and var of each image, (N, C), or None where nobody reads them; of the batch, (C,)."""
    if not form.per_image:
        return None, None, *BatchMoments.apply(y)
    mean, var = ImageMoments.apply(y)
    batch_mean = mean.mean(0)
    return mean, var, batch_mean, (var + (mean - batch_mean).square()).mean(0)


class BatchMoments(Function):
    """Mean and biased variance of each channel over the batch, (C,)."""

    @staticmethod
    def forward(ctx, y: Tensor) -> tuple[Tensor, Tensor]:
        var, mean = torch.var_mean(rows_of(y), (0, 1), correction=0)
        ctx.save_for_backward(y, mean)
        return mean, var

    @staticmethod
    def backward(ctx, grad_mean: Tensor, grad_var: Tensor) -> Tensor:
        y, mean = ctx.saved_tensors
        rows = rows_of(y)
        count = rows.shape[0] * rows.shape[1]
        return image_of((grad_mean + 2 * grad_var * (rows - mean)) / count, y)


class ImageMoments(Function):
    """Mean and biased variance of each image's channels, (N, C)."""

    @staticmethod
    def forward(ctx, y: Tensor) -> tuple[Tensor, Tensor]:
        var, mean = torch.var_mean(rows_of(y), 1, correction=0)
        ctx.save_for_backward(y, mean)
        return mean, var

    @staticmethod
    def backward(ctx, grad_mean: Tensor, grad_var: Tensor) -> Tensor:
        y, mean = ctx.saved_tensors
        rows = rows_of(y)
        grad = each(grad_mean) + 2 * each(grad_var) * (rows - each(mean))
        return image_of(grad / rows.shape[1], y)


class Peaks(Function):
    """The largest y of each image and channel, (N, C), where sign (C,) is 1; smallest, at -1.

    Equal peaks share the gradient.
    """

    @staticmethod
    def forward(ctx, y: Tensor, sign: Tensor) -> Tensor:
        peak = (rows_of(y) * sign).amax(1) * sign
        ctx.save_for_backward(y, peak)
        return peak

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        y, peak = ctx.saved_tensors
        at_peak = rows_of(y) == each(peak)
        share = grad / at_peak.sum(1, dtype=grad.dtype)
        return image_of(torch.where(at_peak, each(share), 0), y), None


class Pools(Function):
    """Maximum and mean of the branch over each of `axes` of (N, H, W, C); equal maxima share."""

    @staticmethod
    def forward(ctx, axes: Sequence[int], y: Tensor, center: Tensor, *values: Tensor):
        v = lines_of(branch_of(rows_of(y) - center, *map(each, values)), y)
        pools = [pool for axis in axes for pool in (v.amax(axis, True), v.mean(axis, True))]
        ctx.axes = axes
        ctx.save_for_backward(y, center, *values, *pools[::2])
        return tuple(pools)

    @staticmethod
    def backward(ctx, *grads: Tensor):
        y, center, *saved = ctx.saved_tensors
        axes = ctx.axes
        values, maxima = saved[: -len(axes)], saved[-len(axes) :]
        d = rows_of(y) - center
        v = lines_of(branch_of(d, *map(each, values)), y)
        g = 0
        for axis, top, grad_max, grad_mean in zip(
            axes, maxima, grads[::2], grads[1::2], strict=True
        ):
            at_top = v == top
            share = grad_max / at_top.sum(axis, True, dtype=v.dtype)
            g = g + grad_mean / v.shape[axis] + torch.where(at_top, share, 0)
        grad_y, grad_values = _through_branch(g.flatten(1, 2), d, values)
        return None, image_of(grad_y, y), None, *grad_values


class Join(Function):
    """relu(shortcut + branch⊙Σgates): the block's output. There is one gate for each of `axes`."""

    @staticmethod
    def forward(
        ctx,
        relu: bool,
        axes: Sequence[int],
        y: Tensor,
        shortcut: Tensor | None,
        center: Tensor,
        *gates_and_values: Tensor,
    ) -> Tensor:
        gates, values = gates_and_values[: len(axes)], gates_and_values[len(axes) :]
        branch = branch_of(rows_of(y) - center, *map(each, values))
        if gates:
            branch = (lines_of(branch, y) * sum(gates)).flatten(1, 2)
        out = branch if shortcut is None else rows_of(shortcut) + branch
        out = image_of(out.relu() if relu else out, y)
        ctx.relu, ctx.axes, ctx.adds = relu, axes, shortcut is not None
        ctx.save_for_backward(y, out if relu else None, center, *gates_and_values)
        return out

    @staticmethod
    def backward(ctx, grad: Tensor):
        y, out, center, *gates_and_values = ctx.saved_tensors
        axes = ctx.axes
        gates, values = gates_and_values[: len(axes)], gates_and_values[len(axes) :]
        masked = torch.where(out > 0, grad, 0) if ctx.relu else grad
        g, d = rows_of(masked), rows_of(y) - center
        grad_gates = []
        if gates:
            g = lines_of(g, y)
            through = g * lines_of(branch_of(d, *map(each, values)), y)
            grad_gates = [through.sum(axis, True) for axis in axes]
            g = (g * sum(gates)).flatten(1, 2)
        grad_y, grad_values = _through_branch(g, d, values)
        grad_shortcut = masked if ctx.adds else None
        return None, None, image_of(grad_y, y), grad_shortcut, None, *grad_gates, *grad_values


def _through_branch(g: Tensor, d: Tensor, values: Sequence[Tensor]) -> tuple[Tensor, list[Tensor]]:
    """The gradients of y, as rows, and of the branch's coefficients from `g`, the branch's."""
    grad_y, *by_row = through_branch(g, d, *map(each, values))
    if all(v.dim() == 1 for v in values):
        return grad_y, [r.sum((0, 1)) for r in by_row]
    per_image = [r.sum(1) for r in by_row]  # one kind of reduction for all: one pass over the map
    return grad_y, [p if v.dim() == 2 else p.sum(0) for p, v in zip(per_image, values, strict=True)]
