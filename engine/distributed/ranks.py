"""The ranks of a run: its processes, one or several.

Rank 0 decides and writes; the others follow it and keep the same weights, step by step. Nothing
here imports torch, so that a finished run is recognised at once.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")


class Ranks(Protocol):
    """The operations of a run over its ranks.

    All ranks call a method at the same point of the run. `device`, `shard` and `gradient_images`
    exchange no message and can be called by any rank alone.
    """

    rank: int
    world_size: int

    def device(self, name: str) -> str:
        """The device of this rank for the option `device=name`."""

    def run_on_rank_zero(self, do: Callable[..., T], *arguments: object) -> T | None:
        """Call the function on rank 0; the other ranks do not wait and get None."""

    def broadcast_result(self, do: Callable[..., T], *arguments: object) -> T:
        """Call the function on rank 0; all ranks get its result, which must fit JSON."""

    def all_reduce_max(self, number: int) -> int:
        """The largest of the numbers of all ranks."""

    def broadcast_state(
        self, snapshot: Callable[[], bytes], restore: Callable[[bytes], None]
    ) -> None:
        """Give all ranks the state of rank 0."""

    def broadcast_buffers(self, tensors: Sequence["Tensor"]) -> None:
        """Overwrite these tensors with those of rank 0, in place."""

    def shard(self, batch: "Tensor") -> "Tensor":
        """This rank's share of the indices of a batch; shares differ by at most one image."""

    def gradient_images(self, here: int, whole: int) -> int:
        """Number of images the gradient is averaged over; this rank holds `here` of `whole`."""

    def all_reduce_gradients(
        self, model: "nn.Module", loss: "Tensor", hits: "Tensor", here: int, whole: int
    ) -> tuple["Tensor", "Tensor"]:
        """Sum the gradients of `model` over the ranks; return loss and hits (2,) of the batch."""

    def all_gather(self, values: "Tensor", indices: "Tensor", count: int) -> "Tensor":
        """(k, count) in the order of the images, from (k, n) of each rank for its `indices`."""

    def convert_sync_batchnorm(self, model: "nn.Module") -> "nn.Module":
        """`model` with batch norms over the batch of all ranks."""

    def require_enough_images(self, batch_size: int, train: int, *measured: int) -> None:
        """ConfigError if a batch or a split has too few images for a rank."""


class SingleProcess:
    """The only rank of a run."""

    rank, world_size = 0, 1

    def device(self, name: str) -> str:
        return name

    def run_on_rank_zero(self, do: Callable[..., T], *arguments: object) -> T:
        return do(*arguments)

    broadcast_result = run_on_rank_zero

    def all_reduce_max(self, number: int) -> int:
        return number

    def broadcast_state(
        self, snapshot: Callable[[], bytes], restore: Callable[[bytes], None]
    ) -> None:
        pass

    def broadcast_buffers(self, tensors: Sequence["Tensor"]) -> None:
        pass

    def shard(self, batch: "Tensor") -> "Tensor":
        return batch

    def gradient_images(self, here: int, whole: int) -> int:
        return here

    def all_reduce_gradients(
        self, model: "nn.Module", loss: "Tensor", hits: "Tensor", here: int, whole: int
    ) -> tuple["Tensor", "Tensor"]:
        return loss, hits

    def all_gather(self, values: "Tensor", indices: "Tensor", count: int) -> "Tensor":
        return values

    def convert_sync_batchnorm(self, model: "nn.Module") -> "nn.Module":
        return model

    def require_enough_images(self, batch_size: int, train: int, *measured: int) -> None:
        pass


SINGLE_PROCESS = SingleProcess()
