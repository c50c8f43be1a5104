"""Slots: the places where a backbone asks for attention. The backbone does not know which.

| slot     | contract                                            | when plain        |
|----------|-----------------------------------------------------|-------------------|
| sites    | `channels -> module`, same shape out                | nn.Identity       |
| fusion   | `channels -> module`, `(shortcut, branch) -> sum`   | Add               |
| conv     | `(in, out, stride, groups) -> module`, 3x3          | conv3x3           |
| norm     | `channels -> module`                                | nn.BatchNorm2d    |
| epilogue | `(y, norm, attention, fusion, shortcut, act) -> out` | composed         |

The sites of a residual block: `prenorm` after the middle convolution and before its norm, `inner`
after the norm and the activation that follow it, `branch` at the end of the residual branch,
`identity` on the shortcut, `post` after the sum. Of a network: `stage` between two stages, `head`
after the last convolution.

All of it happens in every stage, or in some: `Slots(fusion=AFF, stages=[3, 4])` leaves stages 1 and
2 (and the norm of the stem) plain; `sites={"branch": [3, 4], "stage": [1]}` chooses site by site,
and so does, where a list must stay one, `sites=[{"branch": [3, 4]}, "post"]`.
"""

import inspect
import zlib
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from models.layers import conv3x3

SITES = ("prenorm", "inner", "branch", "identity", "post", "stage", "head")
STAGES = (1, 2, 3, 4)
PASSED = {"conv": ("in_channels", "out_channels", "stride", "groups")}  # the others: channels

Stages = Collection[int] | None  # None: all of them
Sites = Mapping[str, Stages] | Collection[str | Mapping[str, Stages]]


class Add(nn.Module):
    """The plain residual sum."""

    adds = True  # for the epilogue: the output is shortcut + branch, or the branch alone

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        return shortcut + branch


class BranchOnly(nn.Module):
    """The fusion of a block that has no shortcut."""

    adds = False

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        return branch


def unchanged(attention: nn.Module) -> nn.Module:
    """The attention as its factory made it."""
    return attention


def composed(
    y: Tensor,
    norm: nn.Module,
    attention: nn.Module,
    fusion: nn.Module,
    shortcut: Tensor,
    act: nn.Module,
) -> Tensor:
    """The end of a block, module by module; `y` is the output of the last convolution."""
    return act(fusion(shortcut, attention(norm(y))))


@dataclass(frozen=True)
class Slots:
    """The factories of the four kinds of slot, and the stage and size that the network is at.

    A factory with a parameter `stage` or `size` gets the stage, from 1, and the (H, W) at the end
    of its block.

    A module in a slot draws its initial weights from its own random stream. The same seed builds
    the same backbone around every attention.
    """

    attn: Callable[..., nn.Module] = nn.Identity
    sites: Sites = ()
    fusion: Callable[..., nn.Module] = Add
    conv: Callable[..., nn.Module] = conv3x3
    norm: Callable[..., nn.Module] = nn.BatchNorm2d
    epilogue: Callable[..., Tensor] = composed
    stages: Stages = None
    gain: Callable[[nn.Module], nn.Module] = unchanged  # of the modules at sites
    stage: int | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        _check("sites", _by_site(self.sites), SITES)
        _check("stages", self._chosen_stages(), STAGES)

    def check_stages(self, stages: int) -> "Slots":
        """The same slots; ValueError if they name a stage above `stages`."""
        _check("stages", self._chosen_stages(), STAGES[:stages])
        return self

    def check_no_shortcut(self) -> "Slots":
        """The same slots; ValueError if they need a shortcut, which the network does not have."""
        fusion = getattr(self.fusion, "func", self.fusion)
        if fusion is not Add or list(_by_site(self.sites)) == ["identity"]:
            raise ValueError("this network has no shortcut: nothing to fuse, and no site identity")
        return self

    def at(self, stage: int, size: int) -> "Slots":
        """The same slots at `stage` (from 1), where maps are `size` pixels square."""
        return replace(self, stage=stage, size=(size, size))

    def site(self, name: str, channels: int) -> nn.Module:
        """Attention if the site is chosen, else the identity.

        The module's attribute `attention_site` is the name of the site: a reader of the network
        (engine.training.gate_stats) finds attention by this attribute.
        """
        chosen = _by_site(self.sites)
        if name not in chosen or not self._in(chosen[name]) or not self._in(self.stages):
            vacant = nn.Identity()
            vacant.vacant_slot = name  # in the network of a file of weights, attention may be here
            return vacant
        module = self.gain(self.build(name, self.attn, channels))
        module.attention_site = name
        return module

    def make_fusion(self, channels: int) -> nn.Module:
        return self.fill("fusion", self.fusion if self._in(self.stages) else Add, Add, channels)

    def make_conv3x3(
        self, in_planes: int, planes: int, stride: int, groups: int = 1, **own: Any
    ) -> nn.Module:
        """The convolution; a factory gets those of the network's own options that it has."""
        conv = self.conv if self._in(self.stages) else conv3x3
        return self.fill("conv", conv, conv3x3, in_planes, planes, stride, groups, **own)

    def make_norm(self, channels: int, **own: Any) -> nn.Module:
        """The norm; a factory gets those of the network's own options that it has."""
        norm = self.norm if self._in(self.stages) else nn.BatchNorm2d
        return self.fill("norm", norm, nn.BatchNorm2d, channels, **own)

    def fill(
        self,
        slot: str,
        factory: Callable[..., nn.Module],
        plain: Callable[..., nn.Module],
        *args: int,
        **own: Any,
    ) -> nn.Module:
        """What `build` returns; its attribute `attention_slot` is the name of the slot.

        The `plain` module has the attribute `vacant_slot` instead, if it holds no tensors.
        """
        module = self.build(slot, factory, *args, **own)
        if getattr(factory, "func", factory) is not getattr(plain, "func", plain):
            module.attention_slot = slot
        elif not module.state_dict():
            module.vacant_slot = slot
        return module

    def build(
        self, slot: str, factory: Callable[..., nn.Module], *args: int, **own: Any
    ) -> nn.Module:
        """`factory(*args)` from its own random stream; stage, size and `own` where it has them."""
        asked = inspect.signature(factory).parameters
        bound = getattr(factory, "keywords", {})  # of a partial: what the user chose stays
        facts = {"stage": self.stage, "size": self.size, **own}
        told = {name: facts[name] for name in facts if name in asked and name not in bound}
        with torch.random.fork_rng(devices=[]):
            here = int(torch.randint(2**62, (), device="cpu"))
            torch.default_generator.manual_seed(here ^ zlib.crc32(slot.encode()))
            _check_call(slot, factory, args, told)
            return factory(*args, **told)

    def _in(self, stages: Stages) -> bool:
        return stages is None or self.stage in stages

    def _chosen_stages(self) -> list[int]:
        chosen = (self.stages, *_by_site(self.sites).values())
        return [stage for stages in chosen if stages is not None for stage in stages]


def attention_names(model: nn.Module) -> list[str]:
    """The names of all modules of `model` that fill a site or a slot in place of a plain module."""
    marks = ("attention_site", "attention_slot")
    modules = model.named_modules(remove_duplicate=False)
    return [name for name, module in modules if any(hasattr(module, mark) for mark in marks)]


def below(key: str, name: str) -> bool:
    """Whether `key` names the module `name`, or something in it."""
    return key == name or key.startswith(f"{name}.")


def _check_call(
    slot: str, factory: Callable[..., nn.Module], args: Collection[int], told: Mapping[str, Any]
) -> None:
    """TypeError if the constructor cannot take what the slot passes."""
    signature = inspect.signature(factory)
    try:
        signature.bind(*args, **told)
    except TypeError as error:
        cls = getattr(factory, "func", factory)
        passed = ", ".join([*PASSED.get(slot, ("channels",)), *told])
        raise TypeError(
            f"the slot {slot} calls {cls.__name__}({passed}), but the constructor takes "
            f"{signature}: {error}"
        ) from error


def _by_site(sites: Sites) -> dict[str, Stages]:
    """{site: its stages}, from each of the allowed notations."""
    chosen: dict[str, Stages] = {}
    for site in [sites] if isinstance(sites, Mapping) else sites:
        chosen |= site if isinstance(site, Mapping) else {site: None}
    return chosen


def _check(what: str, chosen: Collection[Any], allowed: Collection[Any]) -> None:
    unknown = [str(one) for one in chosen if one not in allowed]
    if unknown:
        among = ", ".join(str(one) for one in allowed)
        raise ValueError(f"{what} has {', '.join(sorted(set(unknown)))}: choose from {among}")
