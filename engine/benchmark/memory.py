"""The peak memory of a training step: measured on a GPU, counted on other devices."""

import weakref
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_memory(step: Callable[[], object], device: torch.device) -> int:
    """The peak number of bytes in a `step`. The step runs twice: the first makes optimizer state.

    Counted are all tensors that the step reads or makes: parameters, gradients, buffers, optimizer
    state, batch, and what is kept for the backward pass; each memory once, however many tensors
    share it. What an operation allocates for itself and frees again is seen on a GPU only, whose
    number is therefore higher. The same step has the same count on every run. While it is counted,
    nothing is compiled: a compiled network's is that of the plain one.
    """
    with _LiveBytes() as live:
        step()
        if device.type == "cuda":
            return live.bytes + _above_start(step, device)
        step()
    return live.peak


def _above_start(step: Callable[[], object], device: torch.device) -> int:
    """Only the bytes that the step adds: other networks and cuBLAS hold memory too."""
    torch.cuda.reset_peak_memory_stats(device)
    start = torch.cuda.memory_allocated(device)
    step()
    return torch.cuda.max_memory_allocated(device) - start


class _LiveBytes(TorchDispatchMode):
    """Sum the memory of all tensors that an operation returned and that still exist."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves((args, kwargs, result)):
            if isinstance(leaf, Tensor):
                self._meet(leaf.untyped_storage())
        self.peak = max(self.peak, self.bytes)
        return result

    def _meet(self, storage: torch.UntypedStorage) -> None:
        address = storage._cdata  # of the object, so that one without memory has it too
        if address not in self.known:
            self.known.add(address)
            self.bytes += storage.nbytes()
            weakref.finalize(storage, self._part, address, storage.nbytes()).atexit = False

    def _part(self, address: int, size: int) -> None:
        self.known.remove(address)
        self.bytes -= size
