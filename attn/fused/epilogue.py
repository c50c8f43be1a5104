"""The end of a residual block, act(shortcut + attention(norm(y))), as one fused region.

Module by module, each step reads and writes the whole map, and attention doubles the number of
steps. But after a batch norm most gates follow from the moments of y, the convolution's output,
and the batch norm computes moments of y anyway. The fused epilogue reads y once for its moments and
once more to write the block's output; the backward pass does the same. Everything in between has
shape (N, C) and is ordinary autograd. Gates from pools of the branch take a third pass each way.

`attn.fused.contract` says how a module takes part. The region has two forms:

- `attn.fused.function`, for a network that Python runs: passes that Inductor compiled beforehand;
- `attn.fused.traced`, for a network that `torch.compile` compiles as a whole.

Where neither applies, the modules run one by one.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import Tensor, nn
from torch.fx import Proxy

from attn.fused.contract import LinearFusion, closed_form
from attn.fused.function import fused_epilogue
from attn.fused.kernels import EAGER, compiled
from attn.fused.traced import INDUCTOR_OPTIONS, traced_epilogue

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
KINDS = 256  # of calls that a pass is compiled for, by types, gates and sizes: many networks


@dataclass
class FusedEpilogue:
    """Fills the slot `epilogue`: the fused region where it `applies`, else the modules one by one.

    The region's numbers are those of the modules up to rounding, and the same every time.

    In a network that Python runs, the region is used on `devices` and for maps of more than
    `elements` numbers: for a smaller map, Python takes longer than the map. With gates from pools
    an eighth of that number is enough. The first map compiles the passes, which takes about ten
    seconds once on a machine, and up to a minute with gates from pools. If nothing can be compiled,
    the modules run. `compiled=False` runs the passes uncompiled: slow, for tests.

    In a network that `torch.compile` compiles, the region is used on the devices in `traced`, for
    maps of any size. `torch.compile` needs the options that `inductor_options` returns.
    """

    devices: Sequence[str] = ("cpu",)
    elements: int = 2**20
    compiled: bool = True
    traced: Sequence[str] = ("cuda",)

    def __post_init__(self) -> None:
        if self.elements < 0:
            raise ValueError(f"elements must be 0 or more, got {self.elements}")
        for option in ("devices", "traced"):
            if unknown := set(getattr(self, option)) - {"cpu", "cuda"}:
                names = ", ".join(sorted(unknown))
                raise ValueError(f"{option} has {names}: choose from cpu, cuda")
        # Whether the passes can be compiled here; None: not tried yet.
        self.works: bool | None = None if self.compiled else True
        self.expected = False

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
        region = self._region(y, norm, attention, fusion, shortcut, act)
        if region is None:
            return act(fusion(shortcut, attention(norm(y))))
        form = attention.closed_form()
        if form.finish is not None:
            branch = region(norm, form, attention, False, y, None)
            return act(fusion(shortcut, form.finish(branch)))
        added = shortcut if fusion.adds else None
        return region(norm, form, attention, isinstance(act, nn.ReLU), y, added)

    def inductor_options(self, attention: nn.Module, device: str) -> dict[str, int]:
        """The options of `torch.compile` for a block with this attention; {} if it needs none."""
        used = torch.device(device).type in self.traced and closed_form(attention) is not None
        return dict(INDUCTOR_OPTIONS) if used else {}

    def _region(self, y: Tensor, *modules_and_shortcut: object) -> Callable[..., Tensor] | None:
        """The form of the region that computes this block's end; None if the modules must run."""
        if torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting():
            wanted = y.device.type in self.traced and applies(y, *modules_and_shortcut)
            return traced_epilogue if wanted else None
        if isinstance(y, Proxy) or is_traced():
            return None
        if y.device.type not in self.devices or y.numel() <= self.elements // 8:
            return None
        form = closed_form(modules_and_shortcut[1])
        if form is None or not (form.pooled_axes or y.numel() > self.elements):
            return None
        works = applies(y, *modules_and_shortcut) and self._compiles(y)
        return partial(fused_epilogue, compiled() if self.compiled else EAGER) if works else None

    def resume(self, worked: bool | None) -> None:
        """Go on as a run began: with the region if that `worked`, or without it; None: unknown.

        Where the passes cannot be compiled now, a run that began with them is told.
        """
        self.works = False if worked is False else self.works
        self.expected = worked is True

    def _compiles(self, y: Tensor) -> bool:
        if self.works is None:
            self.works = compiles(y)
            if self.expected and not self.works:
                _say(
                    "this run began with compiled ends of the blocks: its last bits will differ "
                    "from those of a run without interruption"
                )
        return self.works


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
        closed_form(attention) is not None
        and isinstance(fusion, LinearFusion)
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
        said = str(error).strip()
        if "ImportError: /" in said:  # a file in the compiler's cache is damaged
            raise
        reason = said.removeprefix("backend='inductor' raised:").strip().partition("\n")[0]
        _say(f"no compiler works here, so they run module by module: {reason}")
        return False
    return True


@cache
def _announce() -> None:
    _say("compiling the ends of the blocks: up to a minute the first time on a machine")


def _say(what: str) -> None:
    """Print a line, above the progress bar of a program that has one."""
    progress = sys.modules.get("tqdm")  # not imported: torch is the only library that attn needs
    write = progress.tqdm.write if progress else print
    write(what, file=sys.stderr)
