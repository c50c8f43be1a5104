"""Learning-rate schedules: the factor of the peak rate, as functions of the time in epochs.

A schedule has no state: a resumed run has the same rate because it is at the same step.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Constant:
    """The peak rate in all epochs."""

    def __call__(self, epoch: float, epochs: int) -> float:
        return 1.0


@dataclass(frozen=True)
class Step:
    """Multiplied by `gamma` at each milestone, counted in finished epochs."""

    milestones: Sequence[int]
    gamma: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma must be above 0 and at most 1, got {self.gamma}")

    def __call__(self, epoch: float, epochs: int) -> float:
        return self.gamma ** sum(epoch >= milestone for milestone in self.milestones)


@dataclass(frozen=True)
class Exponential:
    """Multiplied by `gamma` after every epoch."""

    gamma: float

    def __post_init__(self) -> None:
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma must be above 0 and at most 1, got {self.gamma}")

    def __call__(self, epoch: float, epochs: int) -> float:
        return self.gamma ** math.floor(epoch)


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 to `final`."""

    final: float = 0.0

    def __post_init__(self) -> None:
        _fraction("final", self.final)

    def __call__(self, epoch: float, epochs: int) -> float:
        return _cosine(1.0, self.final, epoch / epochs)


@dataclass(frozen=True)
class OneCycle:
    """Up from `start` to 1 in the share `rise` of the epochs, then down to `final`, by cosine.

    Smith and Topin, 2018, with the shape and the default fractions of torch's OneCycleLR.
    """

    rise: float = 0.3
    start: float = 0.04
    final: float = 4e-6

    def __post_init__(self) -> None:
        for name in ("rise", "start", "final"):
            _fraction(name, getattr(self, name))

    def __call__(self, epoch: float, epochs: int) -> float:
        peak = self.rise * epochs
        if epoch < peak:
            return _cosine(self.start, 1.0, epoch / peak)
        return _cosine(1.0, self.final, (epoch - peak) / (epochs - peak))


def _cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * progress)) / 2


def _fraction(name: str, value: float) -> None:
    if not 0 <= value < 1:
        raise ValueError(f"{name} must be at least 0 and below 1, got {value}")
