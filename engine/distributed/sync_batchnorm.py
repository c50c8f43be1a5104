"""Batch norm over the batch of all ranks.

torch's own SyncBatchNorm runs on GPUs only. This one runs wherever the ranks can talk, and gives a
run on several ranks the numbers of a run on one.
"""

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from engine.distributed.collectives import all_gather, all_reduce


class SyncBatchNorm(_BatchNorm):
    """nn.BatchNorm1d and 2d of (N, C, ...); N is summed over the ranks."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().forward(x)
        normalized, mean, var, count = _Normalize.apply(x, self.eps)
        with torch.no_grad():
            self.num_batches_tracked += 1
            share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(var * (count / (count - 1)), share)
        if not self.affine:
            return normalized.to(x.dtype)
        shape = (-1,) + (1,) * (x.ndim - 2)
        return (normalized * self.weight.view(shape) + self.bias.view(shape)).to(x.dtype)

    def _check_input_dim(self, x: Tensor) -> None:
        pass


def convert_sync_batchnorm(model: nn.Module) -> nn.Module:
    """`model` with every batch norm replaced; parameters, buffers and names stay."""
    for name, child in model.named_children():
        setattr(model, name, convert_sync_batchnorm(child))
    if not isinstance(model, nn.BatchNorm1d | nn.BatchNorm2d) or not model.track_running_stats:
        return model
    norm = SyncBatchNorm(model.num_features, model.eps, model.momentum, model.affine)
    norm._parameters, norm._buffers = model._parameters, model._buffers
    return norm


class _Normalize(torch.autograd.Function):
    """x -> x̂ = (x - mean)/√(var + eps) in float32 or wider; its mean, var (biased) and count.

    dx = (g - mean(g) - x̂·mean(g·x̂))/√(var + eps), the means over all ranks as well. Each rank's g
    is of its share of one loss, so they may be added.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, eps: float) -> tuple[Tensor, ...]:
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        shape = (-1,) + (1,) * (x.ndim - 2)
        own_var, own_mean = torch.var_mean(x, _all_but_channels(x), correction=0)
        own_count = own_mean.new_full((1,), x.numel() // x.shape[1])
        of_ranks = all_gather(torch.cat([own_mean, own_var, own_count]))
        means, variances, counts = of_ranks.split([x.shape[1], x.shape[1], 1], dim=1)
        count = counts.sum()
        mean = (means * counts).sum(0) / count
        var = ((variances + (means - mean).square()) * counts).sum(0) / count
        scale = (var + eps).rsqrt()
        normalized = (x - mean.view(shape)) * scale.view(shape)
        ctx.save_for_backward(normalized, scale, count)
        ctx.mark_non_differentiable(mean, var, count)
        return normalized, mean, var, count

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, g: Tensor, *others: Tensor) -> tuple[Tensor, None]:
        normalized, scale, count = ctx.saved_tensors
        dims, shape = _all_but_channels(g), (-1,) + (1,) * (g.ndim - 2)
        sums = torch.stack([g.sum(dims), (g * normalized).sum(dims)])
        all_reduce(sums)
        of_g, of_gx = (sums / count).view(2, *shape)
        return (g - of_g - normalized * of_gx) * scale.view(shape), None


def _all_but_channels(x: Tensor) -> list[int]:
    return [0, *range(2, x.ndim)]
