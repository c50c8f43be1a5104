"""The moments of norm(y), from the moments of y: the map norm(y) is never computed."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


class NormMoments:
    """The `MapMoments` of norm(y), for a batch norm in training. They are differentiable.

    Building one updates the running statistics of `norm`.
    """

    def __init__(
        self,
        norm: nn.BatchNorm2d,
        shape: torch.Size,
        of_y: Sequence[Tensor | None],
        peaks: Callable[[Tensor], Tensor],
    ) -> None:
        """`of_y` holds mean and var (N, C), batch_mean and batch_var (C,) of y, which is `shape`d.

        The first two may be None if nobody reads `mean`, `var` and `max`. `peaks(sign)` returns the
        largest y of each image and channel, (N, C), where sign (C,) is 1, or the smallest, at -1.
        """
        self._mean, self._var, self._batch_mean, batch_var = of_y
        self.pixels = shape[2] * shape[3]
        self.count = shape[0] * self.pixels
        track(norm, self._batch_mean, batch_var, self.count)
        self.slope = norm.weight * (batch_var + norm.eps).rsqrt()
        self.batch_mean = norm.bias
        self.batch_var = self.slope.square() * batch_var
        self._peaks = peaks
        self._max: Tensor | None = None  # no cached_property: Dynamo does not enter its lock

    @property
    def mean(self) -> Tensor:
        return torch.addcmul(self.batch_mean, self.slope, self._mean - self._batch_mean)

    @property
    def var(self) -> Tensor:
        return self.slope.square() * self._var

    @property
    def max(self) -> Tensor:
        """Takes one more pass over y; pixels that hold the same extreme share its gradient."""
        if self._max is None:
            peak = self._peaks(torch.where(self.slope.detach() < 0, -1.0, 1.0))
            self._max = torch.addcmul(self.batch_mean, self.slope, peak - self._batch_mean)
        return self._max

    @property
    def center(self) -> Tensor:
        """The mean of y over the batch, (C,), as a constant."""
        return self._batch_mean.detach()

    @property
    def offset(self) -> Tensor:
        """The offset of norm(y) = slope⊙(y - center) + offset, (C,)."""
        return torch.addcmul(self.batch_mean, self.slope, self.center - self._batch_mean)


@torch.no_grad()
def track(bn: nn.Module, mean: Tensor, var: Tensor, count: int) -> None:
    """Update the running statistics as a batch norm in training does; `var` is biased."""
    bn.num_batches_tracked.add_(1)
    bn.running_mean.lerp_(mean, bn.momentum)
    bn.running_var.lerp_(var * (count / (count - 1)), bn.momentum)
