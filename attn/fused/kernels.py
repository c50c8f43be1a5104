"""The passes over a map that the fused epilogue is made of, in plain torch, compiled by Inductor.

A map is seen as rows, (N, H·W, C), a view of a channels_last image. Reductions are over the rows of
one image, so that a thread works on one image and no number depends on how many threads there are.

With d = y - center, center (C,) the mean over the batch, a block's branch is either affine,
slope⊙d + offset, or gated, x⊙σ(scale⊙x + shift) of x = slope⊙d + offset; these coefficients are
(C,) or (N, C).

A branch may be multiplied once more, by a sum of gates that follow from its pools. A pool and its
gate have size 1 in that axis of (N, H, W, C) which was pooled. `planes` are, for each such axis in
turn, the gate, the maxima, and the pools' gradient for a maximal element and for every element.
Equal maxima share theirs, as in the modules.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial, wraps

import torch
from torch import Tensor

from attn.fused.plane_conv import Conv, conv, slide, slide_back

LOG2_E = 1.4426950408889634
# Without these Inductor keeps exponentials for later in memory, which costs more than they do.
OPTIONS = {"realize_reads_threshold": 64, "realize_opcount_threshold": 512}


def moments(y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean and biased variance of each image's channels, (N, C), and of the batch's, (C,)."""
    rows = rows_of(y)
    first = rows[:, :1]  # shifted by a value of the map, squares do not cancel
    d = rows - first
    shifted = d.mean(1)
    mean = first[:, 0] + shifted
    var = (d.square().mean(1) - shifted.square()).clamp_min(0)
    batch_mean = mean.mean(0)
    return mean, var, batch_mean, (var + (mean - batch_mean).square()).mean(0)


def peaks(y: Tensor, sign: Tensor) -> Tensor:
    """(N, C): each image's largest value in a channel, where sign (C,) is 1, or smallest, at -1."""
    return (rows_of(y) * sign).amax(1) * sign


def pools(
    y: Tensor, center: Tensor, coefficients: Sequence[Tensor], axes: Sequence[int]
) -> list[Tensor]:
    """Of the branch, for each axis of (N, H, W, C): maxima and means."""
    v = lines_of(branch_of(rows_of(y) - center, *map(each, coefficients)), y)
    return [pool for axis in axes for pool in (v.amax(axis, True), v.mean(axis, True))]


def join(
    y: Tensor,
    center: Tensor,
    shortcut: Tensor | None,
    coefficients: Sequence[Tensor],
    gates: Sequence[Tensor],
    relu: bool,
) -> Tensor:
    """The block's output: relu(shortcut + gated branch), any part of which may be missing."""
    branch = branch_of(rows_of(y) - center, *map(each, coefficients))
    branch = _gated(branch, gates, y)
    out = branch if shortcut is None else rows_of(shortcut) + branch
    return image_of(out.relu() if relu else out, y)


def gather(
    g: Tensor,
    y: Tensor,
    center: Tensor,
    coefficients: Sequence[Tensor],
    axes: Sequence[int],
    maxima: Sequence[Tensor],
) -> list[Tensor]:
    """For each axis: the gradient of its gate from `g`, the output's, and how many are maximal."""
    v = lines_of(branch_of(rows_of(y) - center, *map(each, coefficients)), y)
    through = lines_of(rows_of(g), y) * v
    return [
        total
        for axis, top in zip(axes, maxima, strict=True)
        for total in (through.sum(axis, True), (v == top).sum(axis, True, dtype=v.dtype))
    ]


def sums(
    g: Tensor,
    y: Tensor,
    center: Tensor,
    coefficients: Sequence[Tensor],
    planes: Sequence[Tensor],
    peak: Tensor | None,
) -> list[Tensor]:
    """The gradients of the coefficients from `g`, that of the output; how many are at the peak."""
    rows = rows_of(y)
    _, *pulled = _pulled(rows_of(g), rows - center, y, coefficients, planes)
    per_image = [p.sum(1) for p in pulled]
    grad_coefficients = [
        s if s.shape == c.shape else s.sum(0) for s, c in zip(per_image, coefficients, strict=True)
    ]
    if peak is None:
        return grad_coefficients
    return [*grad_coefficients, (rows == each(peak)).sum(1, dtype=rows.dtype)]


def pull(
    g: Tensor,
    y: Tensor,
    center: Tensor,
    coefficients: Sequence[Tensor],
    planes: Sequence[Tensor],
    constant: Tensor,
    linear: Tensor,
    peak: Tensor | None,
    grad_peak: Tensor | None,
) -> Tensor:
    """The gradient of y: through the branch, the moments, as constant + linear⊙d, and the peaks."""
    rows = rows_of(y)
    d = rows - center
    through, *_ = _pulled(rows_of(g), d, y, coefficients, planes)
    grad_rows = through + each(constant) + each(linear) * d
    if peak is not None:
        grad_rows = grad_rows + torch.where(rows == each(peak), each(grad_peak), 0)
    return image_of(grad_rows, y)


@dataclass(frozen=True)
class Passes:
    """All of them, as they are or compiled."""

    moments: Callable[..., tuple[Tensor, Tensor]] = moments
    peaks: Callable[..., Tensor] = peaks
    pools: Callable[..., list[Tensor]] = pools
    join: Callable[..., Tensor] = join
    gather: Callable[..., list[Tensor]] = gather
    sums: Callable[..., list[Tensor]] = sums
    pull: Callable[..., Tensor] = pull
    conv: Callable[[Tensor, Tensor], Tensor] = conv


def _opaque(function: Callable[..., object]) -> Callable[..., object]:
    """`function` compiled, an operator to whatever looks on from outside: profilers, counters."""
    fast = torch.compile(function, dynamic=True, fullgraph=True, options=OPTIONS)

    @wraps(function)
    def patient(*arguments: object) -> object:
        try:
            return fast(*arguments)
        except RuntimeError:  # a signal to all processes killed the C++ compiler: compile again
            return fast(*arguments)

    return torch.library.custom_op(f"attn::{function.__name__}", patient, mutates_args=())


EAGER = Passes()


@cache
def compiled() -> Passes:
    """Made when they are first asked for: it takes the compiler's import."""
    return Passes(
        *map(_opaque, (moments, peaks, pools, join, gather, sums, pull)),
        conv=partial(Conv.apply, _opaque(slide), _opaque(slide_back)),
    )


def each(small: Tensor) -> Tensor:
    """(C,) or (N, C) against rows."""
    return small.unsqueeze(-2)


def branch_of(d: Tensor, slope: Tensor, offset: Tensor, *gate: Tensor) -> Tensor:
    x = slope * d + offset
    return x * _sigmoid(x, *gate) if gate else x


def _pulled(
    g: Tensor,
    d: Tensor,
    like: Tensor,
    coefficients: Sequence[Tensor],
    planes: Sequence[Tensor],
) -> tuple[Tensor, ...]:
    """`g`, the output's gradient, through the gates, the pools and `branch_of`."""
    small = tuple(map(each, coefficients))
    if planes:
        v = lines_of(branch_of(d, *small), like)
        g = through_planes(lines_of(g, like), v, planes).flatten(1, 2)
    return through_branch(g, d, *small)


def through_planes(g: Tensor, v: Tensor, planes: Sequence[Tensor]) -> Tensor:
    """What the gates and the pools make of `g` for the branch v."""
    g = g * sum(planes[::4])
    for top, grad_max, grad_mean in zip(planes[1::4], planes[2::4], planes[3::4], strict=True):
        g = g + grad_mean + torch.where(v == top, grad_max, 0)
    return g


def through_branch(
    g: Tensor, d: Tensor, slope: Tensor, offset: Tensor, *gate: Tensor
) -> tuple[Tensor, ...]:
    """g times the derivatives of `branch_of` in its arguments, element by element."""
    if not gate:
        return g * slope, g * d, g
    x = slope * d + offset
    s = _sigmoid(x, *gate)
    logit = g * x * s * (1 - s)
    through = g * s + logit * gate[0]
    return through * slope, through * d, through, logit * x, logit


def _sigmoid(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return (1 + ((scale * x + shift) * -LOG2_E).exp2()).reciprocal()


def _gated(rows: Tensor, gates: Sequence[Tensor], like: Tensor) -> Tensor:
    return (lines_of(rows, like) * sum(gates)).flatten(1, 2) if gates else rows


def rows_of(x: Tensor) -> Tensor:
    rows = x.permute(0, 2, 3, 1).flatten(1, 2)
    return rows.to(torch.promote_types(x.dtype, torch.float32))


def lines_of(rows: Tensor, like: Tensor) -> Tensor:
    """(N, H, W, C)"""
    return rows.unflatten(1, like.shape[2:])


def image_of(rows: Tensor, like: Tensor) -> Tensor:
    n, c, h, w = like.shape
    return rows.to(like.dtype).view(n, h, w, c).permute(0, 3, 1, 2)
