"""A convolution of a few planes, as the spatial gates have it from two to one.

The library's is made for many channels: with two its backward pass takes ten times as long. Here a
kernel's terms are written out but for one axis, which Inductor compiles in seconds to vectors.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import Function, once_differentiable
from torch.nn import functional as F


def conv(planes: Tensor, weight: Tensor) -> Tensor:
    """(N, P, A, B) by a weight (O, P, k, k), k odd, to (N, O, A, B): the library's."""
    return F.conv2d(planes, weight, padding=weight.shape[-1] // 2)


def slide(padded: Tensor, weight: Tensor) -> Tensor:
    """The same as a pass over planes that have k // 2 zeros around them already."""
    k, width = weight.shape[-1], padded.shape[-1] - weight.shape[-1] + 1
    columns = padded.unfold(2, k, 1)[:, None]  # (N, 1, P, A, B + k - 1, k)
    rows = weight[None, :, :, None, None]
    terms = [
        columns[:, :, p, :, j : j + width] * rows[:, :, p, ..., j]
        for p in range(weight.shape[1])
        for j in range(k)
    ]
    return sum(terms).sum(-1)


def slide_back(padded: Tensor, grad: Tensor, weight: Tensor) -> Tensor:
    """The gradient of the weight."""
    k, width = weight.shape[-1], grad.shape[-1]
    columns = padded.unfold(2, k, 1)[:, None]
    g = grad[:, :, None, :, :, None]
    per_row = [(columns[..., j : j + width, :] * g).sum(4) for j in range(k)]
    return torch.stack(per_row, -1).sum((0, 3))


class Conv(Function):
    """`conv` by the two passes, as they are or compiled."""

    @staticmethod
    def forward(
        ctx,
        slide: Callable[..., Tensor],
        slide_back: Callable[..., Tensor],
        planes: Tensor,
        weight: Tensor,
    ) -> Tensor:
        ctx.passes = slide, slide_back
        weight = weight.detach()  # the passes are not to be recorded
        padded = _padded(planes.detach(), weight)
        ctx.save_for_backward(padded, weight)
        return slide(padded, weight)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor | None, ...]:
        slide, slide_back = ctx.passes
        padded, weight = ctx.saved_tensors
        turned = weight.transpose(0, 1).flip(2, 3)
        grad_planes = slide(_padded(grad, weight), turned)
        return None, None, grad_planes, slide_back(padded, grad, weight)


def _padded(planes: Tensor, weight: Tensor) -> Tensor:
    return F.pad(planes, [weight.shape[-1] // 2] * 4)
