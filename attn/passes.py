"""The four passes over a map that `attn.tail` is made of, in plain torch, compiled by Inductor.

A map is seen as rows, (N, H·W, C), a view of a channels_last image. Reductions are over the rows of
one image, so that a thread works on one image and no number depends on how many threads there are.

With d = y - center, center (C,) the mean over the batch, a block's branch is either affine,
slope⊙d + offset, or gated, x⊙σ(scale⊙x + shift) of x = slope⊙d + offset; these coefficients are
(C,) or (N, C).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

LOG2_E = 1.4426950408889634
# Without these Inductor keeps exponentials for later in memory, which costs more than they do.
OPTIONS = {"realize_reads_threshold": 64, "realize_opcount_threshold": 512}


def moments(y: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Mean and biased variance of each image's channels, (N, C), and of the batch's, (C,)."""
    rows = _rows(y)
    first = rows[:, :1]  # shifted by a value of the map, squares do not cancel
    d = rows - first
    shifted = d.mean(1)
    mean = first[:, 0] + shifted
    var = (d.square().mean(1) - shifted.square()).clamp_min(0)
    batch_mean = mean.mean(0)
    return mean, var, batch_mean, (var + (mean - batch_mean).square()).mean(0)


def join(
    y: Tensor, center: Tensor, shortcut: Tensor | None, coefficients: Sequence[Tensor], relu: bool
) -> Tensor:
    """The block's output: relu(shortcut + branch), either part of which may be missing."""
    branch = _branch(_rows(y) - center, *map(_each, coefficients))
    out = branch if shortcut is None else _rows(shortcut) + branch
    return _image(out.relu() if relu else out, y)


def sums(g: Tensor, y: Tensor, center: Tensor, coefficients: Sequence[Tensor]) -> list[Tensor]:
    """The gradients of the coefficients from `g`, that of the branch."""
    _, *pulled = _pulled(_rows(g), _rows(y) - center, *map(_each, coefficients))
    of_images = [p.sum(1) for p in pulled]
    return [
        s if s.shape == c.shape else s.sum(0) for s, c in zip(of_images, coefficients, strict=True)
    ]


def pull(
    g: Tensor,
    y: Tensor,
    center: Tensor,
    coefficients: Sequence[Tensor],
    constant: Tensor,
    linear: Tensor,
) -> Tensor:
    """The gradient of y: through the branch, and constant + linear⊙d through the moments."""
    d = _rows(y) - center
    through, *_ = _pulled(_rows(g), d, *map(_each, coefficients))
    return _image(through + _each(constant) + _each(linear) * d, y)


@dataclass(frozen=True)
class Passes:
    """The four, as they are or compiled."""

    moments: Callable[..., tuple[Tensor, Tensor]] = moments
    join: Callable[..., Tensor] = join
    sums: Callable[..., list[Tensor]] = sums
    pull: Callable[..., Tensor] = pull


def _opaque(function: Callable[..., object]) -> Callable[..., object]:
    """`function` compiled, an operator to whatever looks on from outside: profilers, counters."""
    compiled = torch.compile(function, dynamic=True, fullgraph=True, options=OPTIONS)
    return torch.library.custom_op(f"attn::{function.__name__}", compiled, mutates_args=())


EAGER = Passes()
COMPILED = Passes(*map(_opaque, (moments, join, sums, pull)))


def _each(small: Tensor) -> Tensor:
    """(C,) or (N, C) against rows."""
    return small.unsqueeze(-2)


def _branch(d: Tensor, slope: Tensor, offset: Tensor, *gate: Tensor) -> Tensor:
    x = slope * d + offset
    return x * _sigmoid(x, *gate) if gate else x


def _pulled(
    g: Tensor, d: Tensor, slope: Tensor, offset: Tensor, *gate: Tensor
) -> tuple[Tensor, ...]:
    """g times the derivatives of `_branch` in its arguments, element by element."""
    if not gate:
        return g * slope, g * d, g
    x = slope * d + offset
    s = _sigmoid(x, *gate)
    logit = g * x * s * (1 - s)
    through = g * s + logit * gate[0]
    return through * slope, through * d, through, logit * x, logit


def _sigmoid(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return (1 + ((scale * x + shift) * -LOG2_E).exp2()).reciprocal()


def _rows(x: Tensor) -> Tensor:
    rows = x.permute(0, 2, 3, 1).flatten(1, 2)
    return rows.to(torch.promote_types(x.dtype, torch.float32))


def _image(rows: Tensor, like: Tensor) -> Tensor:
    n, c, h, w = like.shape
    return rows.to(like.dtype).view(n, h, w, c).permute(0, 3, 1, 2)
