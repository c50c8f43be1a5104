"""Gain: a constant factor on what an attention module returns.

Most gates start near a half. So they change the scale of a residual branch, and what a pretrained
network computes, before they have learnt anything. A gain of 2 undoes a gate that starts at a half.
"""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from torch import Tensor, nn

from attn.fused.contract import ClosedForm, closed_form


class Gain(nn.Module):
    """y = gain·attention(x), (N, C, H, W) to (N, C, H, W)."""

    def __init__(self, attention: nn.Module, gain: float) -> None:
        super().__init__()
        self.attention = attention
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * self.attention(x)

    def closed_form(self) -> ClosedForm | None:
        """The form of the attention, with the gain at its end."""
        form = closed_form(self.attention)
        if form is None:
            return None
        finish: Callable[[Tensor], Tensor] = form.finish or nn.Identity()
        return replace(form, finish=lambda branch: self.gain * finish(branch))

    def extra_repr(self) -> str:
        return f"gain={self.gain}"


def with_gain(attention: nn.Module, gain: float) -> nn.Module:
    """The module itself at gain 1, else `Gain`; ValueError unless `gain` is positive and finite."""
    _require_gain(gain)
    return attention if gain == 1 else Gain(attention, gain)


def _require_gain(gain: float) -> None:
    if not (math.isfinite(gain) and gain > 0):
        raise ValueError(f"gain must be a positive number, got {gain}")


@dataclass(frozen=True)
class WithGain:
    """`WithGain(2)(attention)` is the module with a gain of 2; a gain of 1 changes nothing."""

    gain: float = 1.0

    def __post_init__(self) -> None:
        _require_gain(self.gain)

    def __call__(self, attention: nn.Module) -> nn.Module:
        return with_gain(attention, self.gain)


def gained(factory: Callable[..., nn.Module], gain: float) -> Callable[..., nn.Module]:
    """A factory of the modules of `factory` with this gain, told the same things by the network."""

    def build(*args: int, **told: object) -> nn.Module:
        return with_gain(factory(*args, **told), gain)

    build.__signature__ = inspect.signature(factory)
    build.keywords = getattr(factory, "keywords", {})  # as of a partial: what the user chose stays
    return factory if gain == 1 else build
