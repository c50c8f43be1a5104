"""The end of a residual block, act(shortcut + attention(norm(y))), for little more than it costs
without the attention.

Module by module each step of it reads and writes the whole map, and attention doubles their number.
But after a batch norm most gates follow from the moments of y, the convolution's output, and those
the norm needs anyhow: y is read once for its moments and once more to write the block's output, and
so it is in the backward pass. What lies between is (N, C) and ordinary autograd.

A module takes part by a method `gate_logits(x: Moments) -> (scale, shift)`: its output is then
x⊙σ(scale⊙x + shift), each (C,) or (N, C), or x⊙σ(shift) where scale is None. What it does to that
product, if anything, it says by `rest(x)`.

Or by `pooled_axes`, of (N, H, W, C), and `plane_gates(pooled, conv)`: that product, or x where no
`gate_logits` are, is pooled over each of these axes; of maximum and mean, (N, 2, ...),
`plane_gates` makes a gate (N, 1, ...) for each axis; their sum multiplies what was pooled. It takes
a third pass each way. `conv(planes, weight)` is there because the library's is slow for so few
planes.

A module's `forward` stays what it means, and is what runs wherever `FusedEpilogue` does not apply.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn
from tqdm import tqdm

from attn.fused.function import FusedEpilogueFunction
from attn.fused.kernels import EAGER, compiled

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
KINDS = 256  # of calls that a pass is compiled for, by types, gates and sizes: many networks


@dataclass
class FusedEpilogue:
    """Fills the slot `epilogue`: the fused end where it `applies`, else the modules one by one.

    Only on `devices` and for maps of more than `elements` numbers, below which Python takes longer
    than the map; with gates from pools, of more than an eighth of that. Its numbers are those of
    the modules but for rounding, which is the same every time. The first map compiles the passes,
    some ten seconds once on a machine, with gates from pools up to a minute; where that fails,
    for want of a compiler, the modules run. Not `compiled` it is slow, for tests.
    """

    devices: Sequence[str] = ("cpu",)
    elements: int = 2**20
    compiled: bool = True

    def __post_init__(self) -> None:
        if self.elements < 0:
            raise ValueError(f"elements must be 0 or more, got {self.elements}")
        if unknown := set(self.devices) - {"cpu", "cuda"}:
            raise ValueError(f"devices has {', '.join(sorted(unknown))}: choose from cpu, cuda")
        self._works = None if self.compiled else True  # None: not tried yet

    def __call__(
        self,
        y: Tensor,
        norm: nn.Module,
        attention: nn.Module,
        fusion: nn.Module,
        shortcut: Tensor,
        act: nn.Module,
    ) -> Tensor:
        """act(fusion(shortcut, attention(norm(y)))), y from the branch's last convolution."""
        least = self.elements // 8 if hasattr(attention, "pooled_axes") else self.elements
        wanted = y.numel() > least and y.device.type in self.devices and not is_traced()
        applied = wanted and applies(y, norm, attention, fusion, shortcut, act)
        if not applied or not self._compiles(y):
            return act(fusion(shortcut, attention(norm(y))))
        parameters = [p for m in (norm, attention) for p in m.parameters() if p.requires_grad]
        fused = partial(
            FusedEpilogueFunction.apply, compiled() if self.compiled else EAGER, norm, attention
        )
        if hasattr(attention, "rest"):
            branch = fused(False, y, None, *parameters)
            return act(fusion(shortcut, attention.rest(branch)))
        added = shortcut if fusion.adds else None
        return fused(isinstance(act, nn.ReLU), y, added, *parameters)

    def _compiles(self, y: Tensor) -> bool:
        if self._works is None:
            self._works = compiles(y)
        return self._works


def applies(
    y: Tensor,
    norm: nn.Module,
    attention: nn.Module,
    fusion: nn.Module,
    shortcut: Tensor,
    act: nn.Module,
) -> bool:
    """Whether the block's end is one region that nothing looks into from outside."""
    modules = [norm, *attention.modules(), fusion, act]
    wide = torch.promote_types(y.dtype, torch.float32)
    return (
        (hasattr(attention, "gate_logits") or hasattr(attention, "pooled_axes"))
        and hasattr(fusion, "adds")
        and type(act) in (nn.ReLU, nn.Identity)
        and torch.is_grad_enabled()
        and _is_image(y)
        and _is_image(shortcut)
        and y.dtype == shortcut.dtype
        and type(norm) is nn.BatchNorm2d
        and all(_is_learning(m) for m in modules if isinstance(m, nn.modules.batchnorm._BatchNorm))
        and not any(map(_is_watched, modules))
        and all(p.dtype == wide for m in modules for p in m.parameters(recurse=False))
    )


def is_traced() -> bool:
    """Whether somebody else differentiates, records or compiles what runs."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
    )


def _is_image(x: Tensor) -> bool:
    """Whether it is a channels_last map with numbers in it: no subclass, not on device meta."""
    plain = type(x) is Tensor and x.device.type in ("cpu", "cuda")
    return plain and x.is_contiguous(memory_format=torch.channels_last)


def _is_learning(norm: nn.Module) -> bool:
    """Whether it is a plain batch norm that normalizes by the batch and keeps a moving average."""
    kept = norm.track_running_stats and norm.momentum is not None
    return type(norm) in BATCH_NORMS and norm.training and norm.affine and kept


def _is_watched(module: nn.Module) -> bool:
    """Whether a hook waits for it to be called, as those of `attach` do, or for its gradients."""
    hooks = (
        module._forward_hooks,
        module._forward_pre_hooks,
        module._backward_hooks,
        module._backward_pre_hooks,
        *(p._backward_hooks for p in module.parameters(recurse=False)),
    )
    return any(hooks)


def compiles(y: Tensor) -> bool:
    """Whether the passes can be compiled for such a map; says so before, and why if not."""
    _announce()
    limits = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, KINDS)
    try:
        compiled().moments(y.detach())
    except (RuntimeError, OSError) as error:  # OSError: no place for what is compiled
        reason = str(error).strip().partition("\n")[0]
        _say(f"no compiler works here, so they run module by module: {reason}")
        return False
    return True


@cache
def _announce() -> None:
    _say("compiling the ends of the blocks: up to a minute the first time on a machine")


def _say(what: str) -> None:
    tqdm.write(what, file=sys.stderr)
