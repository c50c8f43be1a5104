"""The combinations that `scripts/speed.py` measures: each value of an option with every other."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from engine.errors import ConfigError
from scripts.cli.compose import compose_run
from scripts.cli.overrides import CONF, Overrides, sweep_values

OWN = {*OmegaConf.load(CONF / "speed.yaml")} - {"defaults"}  # all other options are train.py's
DEFAULTS = {
    "model": "resnet18",
    "precision": "fp32",
    "mode": "channels_last",
    "attn": "none,se,nam",
}


class Mode(NamedTuple):
    """The memory format of feature maps, by torch's name, and the form of the attention."""

    memory_format: str
    published: bool = False  # attention as its authors wrote it


MODES = {
    "channels_last": Mode("channels_last"),
    "nchw": Mode("contiguous_format"),
    "published": Mode("contiguous_format", published=True),
}


@dataclass(frozen=True)
class Combination:
    """One value for each option; `options` are those of train.py, and `mode`."""

    options: Mapping[str, str]

    @property
    def name(self) -> str:
        """One line. The options of DEFAULTS are known by their values alone."""
        words = (v if k in DEFAULTS else f"{k}={v}" for k, v in self.options.items())
        return " ".join(words)

    @property
    def mode(self) -> Mode:
        return MODES[self.options["mode"]]

    @property
    def plain(self) -> "Combination":
        """The same network without attention and without the options of attention."""
        others = {k: v for k, v in self.options.items() if not k.startswith("attn.")}
        return Combination(others | {"attn": "none"})

    def reference(self, mode: str) -> "Combination":
        """The same network at fp32 in another mode, not compiled."""
        eager = {"compile": "null"} if "compile" in self.options else {}
        return Combination({**self.options, **eager, "precision": "fp32", "mode": mode})

    def only(self, *groups: str) -> "Combination":
        """The options of these groups alone."""
        return Combination({k: v for k, v in self.options.items() if k.split(".")[0] in groups})

    def compose(self, batch_size: int) -> DictConfig:
        """The configuration of train.py; UnknownName for an option that does not exist."""
        options = {key: value for key, value in self.options.items() if key != "mode"}
        return compose_run(options | {"recipe.batch_size": str(batch_size)}, OWN)[0]


def combinations(overrides: Overrides, against: str | None) -> list[Combination]:
    """Every combination, `attn` changing fastest; then the references in the mode `against`.

    ConfigError for a mode that does not exist or a value that cannot be read.
    """
    axes = {key: sweep_values(key, text) for key, text in (DEFAULTS | overrides).items()}
    axes["attn"] = axes.pop("attn")
    for mode in (*axes["mode"], *filter(None, [against])):
        if mode not in MODES:
            raise ConfigError(f"mode={mode}: choose from {', '.join(MODES)}")
    found = [
        Combination(dict(zip(axes, v, strict=True))) for v in itertools.product(*axes.values())
    ]
    found += [combination.reference(against) for combination in found] if against else []
    return [combination for i, combination in enumerate(found) if combination not in found[:i]]
