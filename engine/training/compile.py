"""The network as torch.compile makes it, for the steps of training.

The plain network stays what is saved, averaged, measured and looked into: it has the same weights
and buffers, and hooks see its modules.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from engine.errors import ConfigError

MODES = ("default", "reduce-overhead", "max-autotune")  # the last two record CUDA graphs
TOGETHER = 64  # of networks and batch sizes that one process holds compiled; Dynamo's limit is 8


def compiled(model: nn.Module, mode: str, device: str, parts: int) -> Callable[[Tensor], Tensor]:
    """`model` compiled, for batches that are worked through in so many `parts`.

    Each size of batch is compiled by itself when it first comes. That takes longer than one form
    for all sizes, but what is computed must not depend on which size came first: a resumed run may
    begin with an epoch's last. Nothing is chosen by timing, for the same reason, but by
    max-autotune. What was compiled before in this process is dropped.

    ConfigError where nothing can be compiled, or not so.
    """
    if mode not in MODES:
        raise ConfigError(f"compile={mode}: choose from {', '.join(MODES)}, null")
    if parts > 1 and mode != "default":
        raise ConfigError(
            f"compile={mode}: a CUDA graph overwrites the gradients of the part before; "
            "take compile=default, or recipe.accumulate=1"
        )
    from torch._inductor import list_mode_options  # seconds, for those who ask for it

    torch.compiler.reset()
    limits = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, TOGETHER)
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(1, device=device))
    except (RuntimeError, OSError) as error:  # OSError: no place for what is compiled
        reason = str(error).strip().partition("\n")[0]
        raise ConfigError(f"compile={mode}: nothing can be compiled here: {reason}") from error
    options = list_mode_options(mode) | {"deterministic": mode != "max-autotune"}
    return torch.compile(model, dynamic=False, options=options)
