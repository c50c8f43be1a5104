"""The seeds of a run, one for each part of training that is drawn at random."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.errors import ConfigError

PARTS = ("seed_init", "seed_order", "seed_augment")  # options of train.py; null: `seed`


@dataclass(frozen=True)
class Seeds:
    """Seeds of the initial weights, of the order of images, and of augmentation.

    `augment` is also the seed of mixed images and of dropout.
    """

    init: int
    order: int
    augment: int

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Seeds":
        """The seeds of a configuration; a part without a seed of its own has `seed`.

        ConfigError for a seed that is no whole number from 0 to 2**63 - 1.
        """
        common = _checked("seed", config.get("seed"))
        own = [(part, config.get(part)) for part in PARTS]
        return cls(*[common if s is None else _checked(part, s) for part, s in own])


def same_seeds(seed: int) -> Seeds:
    """One seed for all parts."""
    return Seeds(seed, seed, seed)


def _checked(key: str, seed: object) -> int:
    if type(seed) is not int or not 0 <= seed < 2**63:
        raise ConfigError(f"{key}={seed}: expected a whole number, 0 or more, below 2**63")
    return seed
