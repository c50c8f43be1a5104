"""Collective operations over all ranks; a lost rank is told in one line."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor

from engine.errors import ResourceError, first_line


class RankLost(ResourceError):
    """Another rank cannot be reached."""


def all_reduce(tensor: Tensor, operation: dist.ReduceOp = dist.ReduceOp.SUM) -> None:
    """Combine `tensor` over the ranks, in place; RankLost if a rank is gone."""
    with as_rank_lost():
        dist.all_reduce(tensor, operation)


def all_gather(tensor: Tensor) -> Tensor:
    """(world_size, n) from the tensor (n,) of each rank; RankLost if a rank is gone."""
    rows = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    with as_rank_lost():
        dist.all_gather(rows, tensor)
    return torch.stack(rows)


def broadcast(tensor: Tensor) -> None:
    """Overwrite `tensor` with that of rank 0, in place; RankLost if a rank is gone."""
    with as_rank_lost():
        dist.broadcast(tensor, 0)


def broadcast_bytes(data: bytes) -> bytes:
    """Rank 0's `data`, on all ranks."""
    size = torch.tensor(len(data))
    broadcast(size)
    received = torch.zeros(int(size), dtype=torch.uint8)
    if dist.get_rank() == 0:
        received = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    broadcast(received)
    return received.numpy().tobytes()


@contextmanager
def as_rank_lost() -> Iterator[None]:
    """Turn the errors of torch.distributed for a lost rank into RankLost."""
    try:
        yield
    except RuntimeError as error:
        raise RankLost(first_line(error)) from error
