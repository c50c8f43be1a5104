"""The contract between an attention module, a fusion and the fused epilogue.

An attention module takes part in the fused epilogue if it has a method `closed_form()`. The method
says how the module's output follows from the moments and the pools of its input x, so that the
epilogue never computes x itself. The module's `forward` stays the definition of the module.

    branch = x⊙σ(scale⊙x + shift),  (scale, shift) = gate_logits(moments of x)
    branch = branch⊙Σ plane_gates(pools of the branch)
    branch = finish(branch)

Each of the three lines may be missing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from torch import Tensor

# planes (N, P, A, B), weight (O, P, k, k), k odd -> (N, O, A, B)
Conv = Callable[[Tensor, Tensor], Tensor]


class MapMoments(Protocol):
    """The moments of the input x of an attention module, which is norm(y) in training.

    `batch_mean` and `batch_var` have shape (C,), over the batch. `mean`, `var` and `max` have shape
    (N, C), over the pixels of one image. Variances are biased. `pixels` is H·W, `count` N·H·W.
    """

    batch_mean: Tensor
    batch_var: Tensor
    mean: Tensor
    var: Tensor
    max: Tensor
    pixels: int
    count: int


@dataclass(frozen=True)
class ClosedForm:
    """How the output of an attention module follows from the moments and the pools of its input.

    `gate_logits(moments)` returns (scale, shift), each (C,) or (N, C); scale None stands for 0.
    `per_image` says that `gate_logits` reads `mean`, `var` or `max`, not only the batch's moments.
    `pooled_axes` are the axes of (N, H, W, C) over which the branch is pooled, and
    `plane_gates(pooled, conv)` turns the pools, (N, 2, A, B) with maximum and mean, into one gate
    (N, 1, A, B) for each axis. `conv(planes, weight)` is the convolution to use, with zero padding
    that keeps the size. `finish` is applied to the gated branch.
    """

    gate_logits: Callable[[MapMoments], tuple[Tensor | None, Tensor]] | None = None
    per_image: bool = True
    pooled_axes: Sequence[int] = ()
    plane_gates: Callable[[Sequence[Tensor], Conv], Sequence[Tensor]] | None = None
    finish: Callable[[Tensor], Tensor] | None = None


@runtime_checkable
class HasClosedForm(Protocol):
    """An attention module that the fused epilogue can compute."""

    def closed_form(self) -> ClosedForm | None:
        """The closed form, or None if this module's options leave it none."""
        ...


@runtime_checkable
class LinearFusion(Protocol):
    """A fusion that the fused epilogue can compute: shortcut + branch, or the branch alone."""

    adds: bool  # whether the fusion adds the shortcut


def closed_form(attention: object) -> ClosedForm | None:
    """The closed form of an attention module; None if it has none."""
    return attention.closed_form() if isinstance(attention, HasClosedForm) else None
