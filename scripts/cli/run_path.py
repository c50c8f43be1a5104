"""Where a run is filed: by what it is, not by when it was started."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from engine.errors import ConfigError
from engine.storage.run_dir import MACHINE_OPTIONS, RunDir, flatten
from scripts.cli.app import plain
from scripts.cli.type_check import check_options

KINDS = {  # what no constructor is given
    "precision": str,
    "compile": str | None,
    "syncbn": bool,
    "deterministic": bool,
    "graph": bool,
    "checkpoint_seconds": float,
    "device": str,
    "out": str,
}

# What the model's node holds as well, once resolved.
IN_MODEL = ("attn", "sites", "fusion", "conv", "norm", "epilogue", "stages", "slots")
LONGEST = 120  # characters of a folder name; file systems stop at 255 bytes


def run_directory(cfg: DictConfig, choices: Mapping[str, str | None] | None = None) -> RunDir:
    """`out/data/model/attn/recipe[/what else was changed]/seed<k>` and what belongs there.

    `choices` are those of the groups, where `cfg` is not the one this process was started with.
    """
    choices = choices or HydraConfig.get().runtime.choices
    resolved = OmegaConf.to_container(cfg, resolve=True)
    check_options(resolved, KINDS)
    if type(cfg.seed) is not int or not 0 <= cfg.seed < 2**63:
        raise ConfigError(f"seed={cfg.seed}: expected a whole number, 0 or more")
    labels = {group: choices[group] for group in ("data", "model", "attn", "recipe")}
    other = changes(cfg, plain("train", choices))
    path = Path(cfg.out, *labels.values(), *_short(other), f"seed{cfg.seed}")
    labels |= {"other": other, "seed": cfg.seed}
    config = {key: value for key, value in resolved.items() if key not in IN_MODEL}
    return RunDir(path, config, labels)


def changes(cfg: DictConfig, known: DictConfig) -> str:
    """What sets a run apart from the plain one of the same choices, as `key=value,key=value`."""
    before = dict(flatten(OmegaConf.to_container(known)))
    after = dict(flatten(OmegaConf.to_container(cfg)))
    apart = [
        f"{key}={_word(value)}"
        for key, value in after.items()
        if key not in (*MACHINE_OPTIONS, "seed") and before.get(key, before) != value
    ]
    return ",".join(apart)


def _short(other: str) -> list[str]:
    """The folder for it: none where there is nothing, cut and hashed where the name is too long."""
    if len(other) > LONGEST:
        other = f"{other[:LONGEST]}-{hashlib.sha256(other.encode()).hexdigest()[:8]}"
    return [other] if other else []


def _word(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(_word, value))
    if isinstance(value, Mapping):  # sites by stage: branch.3.4
        return "+".join(".".join(map(_word, (key, *(of or ())))) for key, of in value.items())
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in str(value))
