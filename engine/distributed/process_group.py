"""Several ranks: torch.distributed, gloo on CPUs and nccl on GPUs, and how they end together.

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

from engine.distributed.heartbeat import Pulse
from engine.errors import Refused, Stopped
from engine.signals import ignore_signals

T = TypeVar("T")
PATIENCE = timedelta(minutes=30)  # with a rank that lives; one that does not is noticed in seconds


class Lost(Stopped):
    """Another rank cannot be reached any more."""


@contextmanager
def joined(identity: str) -> Iterator["Several"]:
    """All ranks, in a context that they leave together and with one exit code."""
    store, rank, world = next(dist.rendezvous("env://", timeout=PATIENCE))
    on_gpus = torch.cuda.is_available() and dist.is_nccl_available()
    own = dist.PrefixStore("attnbench", store.clone())  # a connection of its own
    with Pulse(own, rank, world) as pulse:
        try:
            with _heard():
                backend = "cpu:gloo,cuda:nccl" if on_gpus else "gloo"
                dist.init_process_group(
                    backend, store=store, rank=rank, world_size=world, timeout=PATIENCE
                )
            ranks = Several(rank, world)
            ranks.require_same(identity)
            yield ranks
            ranks.agree(0)
        except BaseException as error:
            _end(error, pulse)
            raise
        finally:
            if dist.is_initialized():
                dist.destroy_process_group()  # or its threads abort the process at its end


class Several:
    """One of `world` ranks; engine.distributed.ranks.Ranks says what the methods do."""

    def __init__(self, rank: int, world: int) -> None:
        self.rank = rank
        self.world = world
        self.local = int(os.environ.get("LOCAL_RANK", rank))

    def device(self, name: str) -> str:
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        if name not in ("cpu", "cuda"):
            raise Refused(f"device={name}: several ranks take a GPU each with device=cuda, or cpu")
        return f"cuda:{self.local}" if name == "cuda" else name

    def first(self, do: Callable[..., T], *arguments: object) -> T | None:
        return do(*arguments) if self.rank == 0 else None

    def shared(self, do: Callable[..., T], *arguments: object) -> T:
        return json.loads(self._sent(json.dumps(self.first(do, *arguments)).encode()))

    def agree(self, number: int) -> int:
        largest = torch.tensor(number)
        all_reduce(largest, dist.ReduceOp.MAX)
        return int(largest)

    def follow(self, snapshot: Callable[[], bytes], restore: Callable[[bytes], None]) -> None:
        state = self._sent(snapshot() if self.rank == 0 else b"")
        if self.rank:
            restore(state)

    def align(self, tensors: Sequence[Tensor]) -> None:
        floats = [tensor for tensor in tensors if tensor.is_floating_point()]
        if not floats:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in floats])
        with _heard():
            dist.broadcast(flat, 0)
        for tensor, values in zip(floats, flat.split([t.numel() for t in floats]), strict=True):
            tensor.copy_(values.view_as(tensor))

    def part(self, batch: Tensor) -> Tensor:
        return batch.tensor_split(self.world)[self.rank]

    def total(self, here: int, whole: int) -> int:
        return whole

    def average(
        self, model: nn.Module, loss: Tensor, hits: Tensor, here: int, whole: int
    ) -> tuple[Tensor, Tensor]:
        """The ranks' gradients are shares of one, so they are added: all in one message.

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

    def gather(self, values: Tensor, indices: Tensor, count: int) -> Tensor:
        whole = values.new_zeros(len(values), count)
        whole[:, indices] = values
        all_reduce(whole)
        return whole

    def synced(self, model: nn.Module) -> nn.Module:
        from engine.distributed.sync_batchnorm import synced  # it talks over this module

        return synced(model)

    def require_same(self, identity: str) -> None:
        """Refused on a rank that was started with other options than rank 0."""
        if self.shared(lambda: identity) != identity:
            raise Refused(f"rank {self.rank} was started with other options than rank 0")

    def require_enough(self, batch_size: int, train: int, *measured: int) -> None:
        rest = train % batch_size
        least = min(batch_size, rest if rest > 1 else batch_size)
        if least < 2 * self.world:  # batch norm needs two
            raise Refused(
                f"{train} images in batches of {batch_size} leave one of {least}, too few for "
                f"{self.world} ranks; change recipe.batch_size, or take fewer ranks"
            )
        if min(measured) < self.world:
            raise Refused(f"{min(measured)} images to measure are too few for {self.world} ranks")

    def _sent(self, data: bytes) -> bytes:
        """Rank 0's `data`."""
        size = torch.tensor(len(data))
        with _heard():
            dist.broadcast(size, 0)
            buffer = torch.zeros(int(size), dtype=torch.uint8)
            if self.rank == 0:
                buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            dist.broadcast(buffer, 0)
        return buffer.numpy().tobytes()


def all_reduce(tensor: Tensor, operation: dist.ReduceOp = dist.ReduceOp.SUM) -> None:
    """Combine `tensor` over the ranks, in place; Lost if one of them is gone."""
    with _heard():
        dist.all_reduce(tensor, operation)


def all_gather(tensor: Tensor) -> Tensor:
    """(world, n) from the (n,) of each rank; Lost if one of them is gone."""
    rows = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
    with _heard():
        dist.all_gather(rows, tensor)
    return torch.stack(rows)


@contextmanager
def _heard() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise Lost(str(error).strip().partition("\n")[0]) from error


def _end(error: BaseException, pulse: Pulse) -> None:
    """Have the first rank that ends tell why, and the others leave with its exit code."""
    ignore_signals()  # torchrun sends them to those that are left
    if isinstance(error, Lost):
        code = pulse.ended()
        if code is None:
            message = f"{pulse.missing()}; the run ends, and the same command resumes it"
            code = _tell(message, Lost.exit_code, pulse)
        raise SystemExit(code) from None
    if isinstance(error, Refused):
        raise SystemExit(_tell(str(error), error.exit_code, pulse)) from None
    code = error.code if isinstance(error, SystemExit) and isinstance(error.code, int) else 1
    pulse.end(code)


def _tell(message: str, code: int, pulse: Pulse) -> int:
    """Say it, unless another rank has ended before; the exit code of the run."""
    if pulse.end(code):
        print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr, flush=True)
        return code
    before = pulse.ended()
    return code if before is None else before
