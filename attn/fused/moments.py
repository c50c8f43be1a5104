"""What `attn.fused.epilogue` tells a module of a map that is never computed."""

from functools import cached_property, partial

import torch
from torch import Tensor, nn

from attn.fused.kernels import Passes


class Moments:
    """What is known of a map x that has not been computed: norm(y), in training.

    `batch_mean` and `batch_var` (C,); `mean`, `var` and `max` (N, C), of each image's channel.
    Variances are biased. `pixels` is H·W, `count` N·H·W.
    """

    def __init__(self, passes: Passes, norm: nn.BatchNorm2d, y: Tensor) -> None:
        """From the moments of y, which `norm` takes into its running statistics."""
        self.of_y = [m.requires_grad_() for m in passes.moments(y)]
        self._mean, self._var, self._batch_mean, batch_var = self.of_y
        self.pixels = y.shape[2] * y.shape[3]
        self.count = len(y) * self.pixels
        track(norm, self._batch_mean, batch_var, self.count)
        self.slope = norm.weight * (batch_var + norm.eps).rsqrt()
        self.batch_mean = norm.bias
        self.batch_var = self.slope.square() * batch_var
        self._peaks = partial(passes.peaks, y)

    @property
    def mean(self) -> Tensor:
        return torch.addcmul(self.batch_mean, self.slope, self._mean - self._batch_mean)

    @property
    def var(self) -> Tensor:
        return self.slope.square() * self._var

    @cached_property
    def max(self) -> Tensor:
        """Takes a pass of its own; the pixels with the extreme y share its gradient."""
        sign = torch.where(self.slope.detach() < 0, -1.0, 1.0)
        self.of_y.append(self._peaks(sign).requires_grad_())
        return torch.addcmul(self.batch_mean, self.slope, self.of_y[-1] - self._batch_mean)

    @property
    def center(self) -> Tensor:
        """The mean of y over the batch, as a constant."""
        return self._batch_mean.detach()

    @property
    def offset(self) -> Tensor:
        """Of x = slope⊙(y - center) + offset."""
        return torch.addcmul(self.batch_mean, self.slope, self.center - self._batch_mean)


@torch.no_grad()
def track(bn: nn.Module, mean: Tensor, var: Tensor, count: int) -> None:
    """What a batch norm in training does to its running statistics; `var` is biased."""
    bn.num_batches_tracked.add_(1)
    bn.running_mean.lerp_(mean, bn.momentum)
    bn.running_var.lerp_(var * (count / (count - 1)), bn.momentum)
