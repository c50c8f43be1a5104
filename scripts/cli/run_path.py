"""The directory of a run. Its name says the run's options, not its time and not its machine."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from engine.errors import ConfigError
from engine.seeds import Seeds
from engine.storage.run_dir import MACHINE_OPTIONS, WEIGHTS, RunDir, flatten
from scripts.cli.compose import Choices, defaults_of
from scripts.cli.overrides import CONF
from scripts.cli.type_check import check_options

OPTIONS = {  # of train.py itself; no constructor takes them
    "precision": str,
    "compile": str | None,
    "syncbn": bool,
    "deterministic": bool,
    "graph": bool,
    "checkpoint_seconds": float,
    "device": str,
    "out": str,
}

# The resolved node `model` holds these options as well.
IN_MODEL = ("attn", "sites", "fusion", "conv", "norm", "epilogue", "stages", "gain", "slots")
LONGEST = 120  # characters of a folder name; file systems allow 255 bytes


def run_directory(cfg: DictConfig, choices: Choices | None = None) -> RunDir:
    """The run's directory, `out/data/model/attn/recipe[/changed options]/seed<k>`.

    `choices` are the chosen files of the groups; without them, those of the command line.
    ConfigError for a wrong value of an option that no constructor takes.
    """
    choices = choices or HydraConfig.get().runtime.choices
    resolved = OmegaConf.to_container(cfg, resolve=True)
    check_options(resolved, OPTIONS)
    Seeds.of(cfg)
    if cfg.checkpoint_seconds < 0:
        raise ConfigError(f"checkpoint_seconds={cfg.checkpoint_seconds}: expected 0 or more")
    labels = {group: choices[group] for group in ("data", "model", "attn", "recipe")}
    labels["data"] = _data_name(resolved["data"], choices["data"])
    other = changes(cfg, defaults_of("train", choices))
    path = Path(cfg.out, *labels.values(), *_short(other), f"seed{cfg.seed}")
    labels |= {"other": other, "seed": cfg.seed}
    config = {key: value for key, value in resolved.items() if key not in IN_MODEL}
    return RunDir(path, config, labels)


def changes(cfg: DictConfig, known: DictConfig) -> str:
    """The options of `cfg` that differ from the defaults `known`, as `key=value,key=value`."""
    before = dict(flatten(OmegaConf.to_container(known)))
    after = dict(flatten(OmegaConf.to_container(cfg)))
    untold = (*MACHINE_OPTIONS, "seed", "data.name")  # the data's name is a folder of its own
    apart = [
        f"{key}={_word(Path(value).name if key == WEIGHTS and value else value)}"
        for key, value in after.items()
        if key not in untold and before.get(key, before) != value
    ]
    return ",".join(apart)


def _data_name(data: Mapping[str, Any], choice: str) -> str:
    """`data.name`; without a name, that of the folder in data=folder, else the choice itself.

    ConfigError for a name that is taken by a file of conf/data, or that is no name of a folder.
    """
    name = data.get("name")
    if name is None and choice == "folder":
        name = Path(data["root"]).expanduser().absolute().name
    if name is None or name == choice:
        return choice
    taken = {file.stem for file in (CONF / "data").glob("*.yaml")}
    is_name = isinstance(name, str) and re.fullmatch(r"\w[\w .+-]*", name)
    if not is_name or name in taken:
        raise ConfigError(
            f"data.name={name}: choose another name for the data set, of letters and digits, "
            f"that is none of {', '.join(sorted(taken))}"
        )
    return name


def _short(other: str) -> list[str]:
    """The folder for the changed options, if any; a long name is cut and ends in its hash."""
    if len(other) > LONGEST:
        other = f"{other[:LONGEST]}-{hashlib.sha256(other.encode()).hexdigest()[:8]}"
    return [other] if other else []


def _word(value: Any) -> str:
    if isinstance(value, list):
        return "+".join(map(_word, value))
    if isinstance(value, Mapping):  # sites by stage: branch.3.4
        return "+".join(".".join(map(_word, (key, *(of or ())))) for key, of in value.items())
    return "".join(c if c.isalnum() or c in "._-" else "_" for c in str(value))
