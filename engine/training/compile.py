"""The network compiled by torch.compile, for the steps of training.

The plain network shares weights and buffers with the compiled one. The plain network is saved,
averaged and evaluated, and hooks see its modules.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from engine.errors import ConfigError

MODES = ("default", "reduce-overhead", "max-autotune")  # the last two record CUDA graphs
TOGETHER = 64  # compiled networks and batch sizes in one process; Dynamo's default is 8


@runtime_checkable
class Epilogue(Protocol):
    """What computes the end of a block in one of two ways, whose last bits differ."""

    works: bool | None  # whether the faster way can be compiled here; None: not tried yet

    def resume(self, worked: bool | None) -> None:
        """Go on in the way in which a run began."""


def epilogues(model: nn.Module) -> Iterator[Epilogue]:
    """The epilogues of the network's blocks that have two ways, each once."""
    found = {id(e): e for e in (getattr(m, "epilogue", None) for m in model.modules())}
    return (epilogue for epilogue in found.values() if isinstance(epilogue, Epilogue))


def inductor_options(model: nn.Module, device: str) -> dict[str, int]:
    """The options of Inductor that the epilogues of the network's blocks need on this device."""
    needed = {}
    for block in model.modules():
        ask = getattr(getattr(block, "epilogue", None), "inductor_options", None)
        needed |= {} if ask is None else ask(block.branch, device)
    return needed


def compiled(
    function: nn.Module | Callable,
    mode: str,
    device: str,
    parts: int,
    graphs: bool = True,
    extra: Mapping[str, int] | None = None,
) -> Callable:
    """`function` compiled, for batches in `parts` parts; `extra` are further options of Inductor.

    Each batch size is compiled when it comes first. One form for all sizes would take less time,
    but the numbers must not depend on the size that came first: a resumed run may begin with the
    last batch of an epoch. For the same reason only max-autotune chooses kernels by timing. All
    that this process compiled before is dropped.

    Without `graphs`, no mode records CUDA graphs: the caller captures a larger graph.
    ConfigError if nothing can be compiled on this machine, or not in this mode.
    """
    if mode not in MODES:
        raise ConfigError(f"compile={mode}: choose from {', '.join(MODES)}, null")
    if parts > 1 and mode != "default":
        raise ConfigError(
            f"compile={mode}: a CUDA graph overwrites the gradients of the previous part; "
            "take compile=default, or recipe.accumulate=1"
        )
    from torch._inductor import list_mode_options  # takes seconds to import

    torch.compiler.reset()
    limits = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, TOGETHER)
    _require_compiler(mode, device)
    options = list_mode_options(mode) | {"deterministic": mode != "max-autotune"} | (extra or {})
    if not graphs:
        options["triton.cudagraphs"] = False
    return torch.compile(function, dynamic=False, options=options)


def _require_compiler(mode: str, device: str) -> None:
    """ConfigError if nothing can be compiled for the device."""
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(1, device=device))
    except (RuntimeError, OSError) as error:  # OSError: the cache cannot be written
        said = str(error).strip()
        if "ImportError: /" in said:  # a damaged file: engine.errors.whole_compiler_cache
            raise
        reason = said.removeprefix("backend='inductor' raised:").strip().partition("\n")[0]
        raise ConfigError(f"compile={mode}: nothing can be compiled here: {reason}") from error
