"""The processes of one run, its ranks: one, or as many as torchrun started.

Rank 0 decides and writes; the others follow it and keep the same weights, step by step. Nothing
here imports torch, so that a finished run is recognised at once.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from torch import Tensor, nn

T = TypeVar("T")


class Ranks(Protocol):
    """What a run asks of its ranks. All of them call each method at the same point of the run,
    but for `device`, `part` and `total`, which ask nobody."""

    rank: int
    world: int

    def device(self, name: str) -> str:
        """The device of this rank, where `device=name` was said."""

    def first(self, do: Callable[..., T], *arguments: object) -> T | None:
        """What rank 0 does alone; None on the others, which do not wait for it."""

    def shared(self, do: Callable[..., T], *arguments: object) -> T:
        """What rank 0 does alone, and what comes of it (JSON) on all."""

    def agree(self, number: int) -> int:
        """The largest of what the ranks say."""

    def follow(self, snapshot: Callable[[], bytes], restore: Callable[[bytes], None]) -> None:
        """Restore rank 0's snapshot on the others."""

    def align(self, tensors: Sequence["Tensor"]) -> None:
        """Give the others rank 0's values of these, in place."""

    def part(self, batch: "Tensor") -> "Tensor":
        """The share of this rank in the indices of a batch; shares differ by one at most."""

    def total(self, here: int, whole: int) -> int:
        """Of how many images the gradient is a mean: `here` are there of a batch of `whole`."""

    def average(
        self, model: "nn.Module", loss: "Tensor", hits: "Tensor", here: int, whole: int
    ) -> tuple["Tensor", "Tensor"]:
        """Make the gradients of `model` those of the whole batch; its loss and its hits (2,)."""

    def gather(self, values: "Tensor", indices: "Tensor", count: int) -> "Tensor":
        """(k, count) from the (k, n) that each rank has of its `indices`, in their order."""

    def synced(self, model: "nn.Module") -> "nn.Module":
        """`model`, its batch norms taking their statistics from the batch of all ranks."""

    def require_enough(self, batch_size: int, train: int, *measured: int) -> None:
        """Refused where a batch of so many images, or a split, leaves a rank too few."""


class Alone:
    """The only rank of its run."""

    rank, world = 0, 1

    def device(self, name: str) -> str:
        return name

    def first(self, do: Callable[..., T], *arguments: object) -> T:
        return do(*arguments)

    shared = first

    def agree(self, number: int) -> int:
        return number

    def follow(self, snapshot: Callable[[], bytes], restore: Callable[[bytes], None]) -> None:
        pass

    def align(self, tensors: Sequence["Tensor"]) -> None:
        pass

    def part(self, batch: "Tensor") -> "Tensor":
        return batch

    def total(self, here: int, whole: int) -> int:
        return here

    def average(
        self, model: "nn.Module", loss: "Tensor", hits: "Tensor", here: int, whole: int
    ) -> tuple["Tensor", "Tensor"]:
        return loss, hits

    def gather(self, values: "Tensor", indices: "Tensor", count: int) -> "Tensor":
        return values

    def synced(self, model: "nn.Module") -> "nn.Module":
        return model

    def require_enough(self, batch_size: int, train: int, *measured: int) -> None:
        pass


ALONE = Alone()


def world_size() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", 1))


@contextmanager
def together(identity: str) -> Iterator[Ranks]:
    """The ranks of this run, until it ends; each must have been started with one `identity`."""
    if world_size() == 1:
        yield ALONE
        return
    from engine.distributed.process_group import joined

    with joined(identity) as ranks:
        yield ranks
