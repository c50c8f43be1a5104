"""The processes of one run, its ranks: one, or as many as torchrun started.

Rank 0 decides and writes; the others follow it and keep the same weights, step by step. Nothing
here imports torch, so that a finished run is recognised at once.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")


class Ranks(Protocol):
    """What a run asks of its ranks. All of them call each method at the same point of the run,
    but for `device`, `part` and `total`, which ask nobody."""

    rank: int
    world_size: int

    def device(self, name: str) -> str:
        """The device of this rank, where `device=name` was said."""

    def run_on_rank_zero(self, do: Callable[..., T], *arguments: object) -> T | None:
        """What rank 0 does alone; None on the others, which do not wait for it."""

    def broadcast_result(self, do: Callable[..., T], *arguments: object) -> T:
        """What rank 0 does alone, and what comes of it (JSON) on all."""

    def all_reduce_max(self, number: int) -> int:
        """The largest of what the ranks say."""

    def broadcast_state(
        self, snapshot: Callable[[], bytes], restore: Callable[[bytes], None]
    ) -> None:
        """Restore rank 0's snapshot on the others."""

    def broadcast_buffers(self, tensors: Sequence["Tensor"]) -> None:
        """Give the others rank 0's values of these, in place."""

    def shard(self, batch: "Tensor") -> "Tensor":
        """The share of this rank in the indices of a batch; shares differ by one at most."""

    def gradient_images(self, here: int, whole: int) -> int:
        """Of how many images the gradient is a mean: `here` are there of a batch of `whole`."""

    def all_reduce_gradients(
        self, model: "nn.Module", loss: "Tensor", hits: "Tensor", here: int, whole: int
    ) -> tuple["Tensor", "Tensor"]:
        """Make the gradients of `model` those of the whole batch; its loss and its hits (2,)."""

    def all_gather(self, values: "Tensor", indices: "Tensor", count: int) -> "Tensor":
        """(k, count) from the (k, n) that each rank has of its `indices`, in their order."""

    def convert_sync_batchnorm(self, model: "nn.Module") -> "nn.Module":
        """`model`, its batch norms taking their statistics from the batch of all ranks."""

    def require_enough_images(self, batch_size: int, train: int, *measured: int) -> None:
        """ConfigError where a batch of so many images, or a split, leaves a rank too few."""


class SingleProcess:
    """The only rank of its run."""

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
