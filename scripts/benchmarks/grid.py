"""What `scripts/speed.py` measures: every combination of the values on its command line."""

import itertools
from typing import NamedTuple

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from engine.errors import ConfigError
from scripts.cli.app import CONF, check_names, forced
from scripts.cli.app import plain as nothing_else_said
from scripts.tables.plan import Overrides

OWN = {*OmegaConf.load(CONF / "speed.yaml")} - {"hydra", "defaults"}  # the rest is train.py's
DEFAULTS = {
    "model": "resnet18",
    "precision": "fp32",
    "mode": "channels_last",
    "attn": "none,se,nam",
}


class Mode(NamedTuple):
    """How maps lie in memory, by torch's name; whether attention is as its authors wrote it."""

    memory_format: str
    restated: bool = False


MODES = {
    "channels_last": Mode("channels_last"),
    "nchw": Mode("contiguous_format"),
    "published": Mode("contiguous_format", restated=True),
}


def combinations(said: Overrides, against: str | None) -> list[Overrides]:
    """All of them, `attn` changing fastest, and behind them those that they go against."""
    axes = {key: values(key, text) for key, text in (DEFAULTS | said).items()}
    axes["attn"] = axes.pop("attn")
    for mode in (*axes["mode"], *filter(None, [against])):
        if mode not in MODES:
            raise ConfigError(f"mode={mode}: choose from {', '.join(MODES)}")
    chosen = [dict(zip(axes, v, strict=True)) for v in itertools.product(*axes.values())]
    chosen += [reference(one, against) for one in chosen] if against else []
    return [one for i, one in enumerate(chosen) if one not in chosen[:i]]


def values(key: str, text: str) -> list[str]:
    """What Hydra takes `key=text` for in a sweep: `a,b` has two values, and `[a,b]` has one."""
    try:
        override = OverridesParser.create().parse_override(forced(f"{key}={text}"))
    except HydraException as error:
        raise ConfigError(f"{key}={text}: this value cannot be read") from error
    return list(override.sweep_string_iterator()) if override.is_sweep_override() else [text]


def reference(chosen: Overrides, against: str) -> Overrides:
    """The same network at fp32 in the mode `against`, not compiled."""
    eager = {"compile": "null"} if "compile" in chosen else {}
    return chosen | eager | {"precision": "fp32", "mode": against}


def name(chosen: Overrides) -> str:
    """In one line; what speaks for itself is named by its value alone."""
    return " ".join(value if key in DEFAULTS else f"{key}={value}" for key, value in chosen.items())


def plain(chosen: Overrides) -> Overrides:
    """The same without attention, and without the options of it."""
    return {key: v for key, v in chosen.items() if not key.startswith("attn.")} | {"attn": "none"}


def compose(chosen: Overrides, batch_size: int) -> DictConfig:
    """The configuration of train.py; wrong names are refused."""
    said = {key: value for key, value in chosen.items() if key != "mode"}
    words = [forced(f"{k}={v}") for k, v in (said | {"recipe.batch_size": batch_size}).items()]
    cfg = hydra.compose("train", words, return_hydra_config=True)
    choices = cfg.hydra.runtime.choices
    OmegaConf.set_struct(cfg, False)
    cfg.pop("hydra")
    known = nothing_else_said("train", choices)
    OmegaConf.set_struct(known, False)
    check_names(cfg, OmegaConf.merge(known, dict.fromkeys(OWN)))
    return cfg


def within(chosen: Overrides, *groups: str) -> Overrides:
    """What is said about these groups and their options."""
    return {key: value for key, value in chosen.items() if key.split(".")[0] in groups}
