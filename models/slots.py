"""Slots: the places where a backbone asks for attention without knowing which.

| slot     | contract                                            | when plain        |
|----------|-----------------------------------------------------|-------------------|
| sites    | `channels -> module`, same shape out                | nn.Identity       |
| fusion   | `channels -> module`, `(shortcut, branch) -> sum`   | Add               |
| conv     | `(in, out, stride, groups) -> module`, 3x3          | conv3x3           |
| norm     | `channels -> module`                                | nn.BatchNorm2d    |

The sites of a residual block: `inner` after the middle convolution, `branch` at the end of the
residual branch, `identity` on the shortcut, `post` after the sum. Of a network: `stage` between
two stages, `head` after the last convolution.
"""

import inspect
import zlib
from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from models.layers import conv3x3

SITES = ("inner", "branch", "identity", "post", "stage", "head")


class Add(nn.Module):
    """The plain residual sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        return shortcut + branch


class BranchOnly(nn.Module):
    """The fusion of a block that has no shortcut."""

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        return branch


@dataclass(frozen=True)
class Slots:
    """What fills the four kinds of slot, and, once `at` a stage, where the network asks from.

    A factory whose signature has `stage` or `size` is told the stage and the (H, W) at the end of
    the block it is built for.

    Whatever fills a slot draws its initial weights from a random stream of its own, so the same
    seed builds the same backbone around every attention.
    """

    attn: Callable[..., nn.Module] = nn.Identity
    sites: Collection[str] = ()
    fusion: Callable[..., nn.Module] = Add
    conv: Callable[..., nn.Module] = conv3x3
    norm: Callable[..., nn.Module] = nn.BatchNorm2d
    stage: int | None = None
    size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        unknown = sorted(set(self.sites) - set(SITES))
        if unknown:
            raise ValueError(f"sites has {', '.join(unknown)}: choose from {', '.join(SITES)}")

    def at(self, stage: int, size: int) -> "Slots":
        """The same slots, asked for from `stage` (from 1), where maps are `size` pixels square."""
        return Slots(self.attn, self.sites, self.fusion, self.conv, self.norm, stage, (size, size))

    def site(self, name: str, channels: int) -> nn.Module:
        """Attention where the site is chosen, the identity where it is not."""
        return self._build(name, self.attn, channels) if name in self.sites else nn.Identity()

    def fuse(self, channels: int) -> nn.Module:
        return self._build("fusion", self.fusion, channels)

    def conv3x3(self, in_planes: int, planes: int, stride: int, groups: int = 1) -> nn.Module:
        return self._build("conv", self.conv, in_planes, planes, stride, groups)

    def normalize(self, channels: int) -> nn.Module:
        return self._build("norm", self.norm, channels)

    def _build(self, slot: str, factory: Callable[..., nn.Module], *args: int) -> nn.Module:
        asked = inspect.signature(factory).parameters
        bound = getattr(factory, "keywords", {})  # of a partial: what the user chose stays
        facts = {"stage": self.stage, "size": self.size}
        told = {name: facts[name] for name in facts if name in asked and name not in bound}
        with torch.random.fork_rng(devices=[]):
            here = int(torch.randint(2**62, (), device="cpu"))
            torch.default_generator.manual_seed(here ^ zlib.crc32(slot.encode()))
            return factory(*args, **told)
