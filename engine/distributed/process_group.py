"""Several ranks by torch.distributed, gloo on CPUs and nccl on GPUs, which end together.

The ranks talk over gloo where the CPU must know (who was signaled, what rank 0 read), over nccl
where only GPUs do. Whatever ends one rank ends all: the first to end tells why, and leaves its
exit code for the others.
"""

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from engine.distributed.collectives import (
    RankLost,
    all_reduce,
    as_rank_lost,
    broadcast,
    broadcast_bytes,
)
from engine.distributed.heartbeat import Heartbeat
from engine.distributed.sync_batchnorm import convert_sync_batchnorm
from engine.errors import ConfigError, RunError
from engine.signals import ignore_signals

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)  # with a rank that lives; one that does not is noticed in seconds


@contextmanager
def init_process_group(identity: str) -> Iterator["MultiProcess"]:
    """A context with all ranks; the ranks leave together, with one exit code."""
    store, rank, world = next(dist.rendezvous("env://", timeout=PATIENCE))
    on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    own = dist.PrefixStore("attnbench", store.clone())  # a connection of its own
    with Heartbeat(own, rank, world) as heartbeat:
        try:
            with as_rank_lost():
                backend = "cpu:gloo,cuda:nccl" if on_gpus else "gloo"
                dist.init_process_group(
                    backend, store=store, rank=rank, world_size=world, timeout=PATIENCE
                )
            ranks = MultiProcess(rank, world)
            ranks.require_same(identity)
            yield ranks
            ranks.all_reduce_max(0)
        except BaseException as error:
            _end(error, heartbeat)
            raise
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()  # or its threads abort the process at its end


class MultiProcess:
    """One of several ranks; engine.distributed.ranks.Ranks describes the methods."""

    def __init__(self, rank: int, world: int) -> None:
        self.rank = rank
        self.world_size = world
        self.local = int(os.environ.get("LOCAL_RANK", rank))

    def device(self, name: str) -> str:
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name not in ("cpu", "cuda"):
            raise ConfigError(
                f"device={name}: several ranks take a GPU each with device=cuda, or cpu"
            )
        return f"cuda:{self.local}" if name == "cuda" else name

    def run_on_rank_zero(self, do: Callable[..., T], *arguments: object) -> T | None:
        return do(*arguments) if self.rank == 0 else None

    def broadcast_result(self, do: Callable[..., T], *arguments: object) -> T:
        return json.loads(
            broadcast_bytes(json.dumps(self.run_on_rank_zero(do, *arguments)).encode())
        )

    def all_reduce_max(self, number: int) -> int:
        largest = torch.tensor(number)
        all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest)

    def broadcast_state(
        self, snapshot: Callable[[], bytes], restore: Callable[[bytes], None]
    ) -> None:
        state = broadcast_bytes(snapshot() if self.rank == 0 else b"")
        if self.rank:
            restore(state)

    def broadcast_buffers(self, tensors: Sequence[Tensor]) -> None:
        floats = [tensor for tensor in tensors if tensor.is_floating_point()]
        if not floats:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in floats])
        broadcast(flat)
        for tensor, values in zip(floats, flat.split([t.numel() for t in floats]), strict=True):
            tensor.copy_(values.view_as(tensor))

    def shard(self, batch: Tensor) -> Tensor:
        return batch.tensor_split(self.world_size)[self.rank]

    def gradient_images(self, here: int, whole: int) -> int:
        return whole

    def all_reduce_gradients(
        self, model: nn.Module, loss: Tensor, hits: Tensor, here: int, whole: int
    ) -> tuple[Tensor, Tensor]:
        """Add the gradients of the ranks, which are shares of one gradient, in one message.

        Where images that cannot be read are left out, the shares are of fewer.
        """
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        flat = torch.cat([*(g.reshape(-1) for g in gradients), loss.reshape(1), hits, hits[:1]])
        flat[-1] = here
        all_reduce(flat)
        flat[:-3] *= whole / flat[-1]
        summed = flat[:-4].split([g.numel() for g in gradients])
        for gradient, values in zip(gradients, summed, strict=True):
            gradient.copy_(values.view_as(gradient))
        return flat[-4], flat[-3:-1].long()

    def all_gather(self, values: Tensor, indices: Tensor, count: int) -> Tensor:
        whole = values.new_zeros(len(values), count)
        whole[:, indices] = values
        all_reduce(whole)
        return whole

    def convert_sync_batchnorm(self, model: nn.Module) -> nn.Module:
        return convert_sync_batchnorm(model)

    def require_same(self, identity: str) -> None:
        """ConfigError if this rank was started with other options than rank 0."""
        if self.broadcast_result(lambda: identity) != identity:
            raise ConfigError(f"rank {self.rank} was started with other options than rank 0")

    def require_enough_images(self, batch_size: int, train: int, *measured: int) -> None:
        rest = train % batch_size
        least = min(batch_size, rest if rest > 1 else batch_size)
        if least < 2 * self.world_size:  # batch norm needs two
            raise ConfigError(
                f"{train} images in batches of {batch_size} leave one of {least}, too few for "
                f"{self.world_size} ranks; change recipe.batch_size, or take fewer ranks"
            )
        if min(measured) < self.world_size:
            raise ConfigError(
                f"{min(measured)} images to measure are too few for {self.world_size} ranks"
            )


def _end(error: BaseException, heartbeat: Heartbeat) -> None:
    """A context: the first rank that ends says why, and all leave with its exit code."""
    ignore_signals()  # torchrun sends them to those that are left
    if isinstance(error, RankLost):
        code = heartbeat.ended()
        if code is None:
            message = f"{heartbeat.missing()}; the run ends, and the same command resumes it"
            code = _tell(message, RankLost.exit_code, heartbeat)
        raise SystemExit(code) from None
    if isinstance(error, RunError):
        raise SystemExit(_tell(str(error), error.exit_code, heartbeat)) from None
    code = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
    heartbeat.end(code)


def _tell(message: str, code: int, heartbeat: Heartbeat) -> int:
    """Print the error, unless another rank ended before; return the exit code of the run."""
    if heartbeat.end(code):
        print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr, flush=True)
        return code
    before = heartbeat.ended()
    return code if before is None else before
