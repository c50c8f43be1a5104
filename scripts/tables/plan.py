"""The runs that make a table: `conf/table/NAME.yaml` and the command line -> names and places."""

import itertools
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import hydra
from omegaconf import OmegaConf

from engine.errors import ConfigError
from engine.storage.renamed import option
from engine.storage.run_dir import MACHINE_OPTIONS, RunDir
from scripts.cli.app import check_names, forced, plain
from scripts.cli.run_path import run_directory

Overrides = dict[str, str]  # as train.py takes them: key -> value
TITLE = ("data", "model", "recipe")


@dataclass(frozen=True)
class Section:
    """What becomes one comparison: its title, and for each row its runs by their seeds."""

    title: str
    data: str
    model: str
    rows: Mapping[str, Sequence["PlannedRun"]]


@dataclass(frozen=True)
class PlannedRun:
    """One run: what train.py is told, but for the seed; where it is filed; how long it is."""

    overrides: Overrides
    folder: RunDir
    epochs: int

    @property
    def seed(self) -> int:
        return self.folder.labels["seed"]


def sections(table: Mapping[str, Any], said: Overrides, seeds: Sequence[int]) -> list[Section]:
    """The comparisons of a table, changed by what the command line says about its runs.

    A setting with several values makes a comparison for each; `attn=a,b` chooses the rows.
    """
    said = dict(said)
    rows = _rows(table["rows"], said.pop("attn", None))
    settings = {key: _several(value) for key, value in (table["settings"] | said).items()}
    return [
        _section(dict(zip(settings, values, strict=True)), rows, said, seeds)
        for values in itertools.product(*settings.values())
    ]


def of_runs(said: Overrides) -> str:
    """What was said about the runs and is no matter of the machine, in one word for a folder."""
    return ",".join(
        f"{key}={value}"
        for key, value in said.items()
        if key not in MACHINE_OPTIONS and not key.startswith("hydra")
    )


def _section(
    settings: Overrides, rows: Mapping[str, Overrides], said: Overrides, seeds: Sequence[int]
) -> Section:
    known = [f"recipe {settings['recipe']}" if k == "recipe" else settings[k] for k in TITLE]
    rest = {k: v for k, v in settings.items() if k not in TITLE}
    title = ", ".join([*known, *filter(None, [of_runs(rest)])])
    runs = {name: settings | row | _but_choices(said) for name, row in rows.items()}
    planned = {name: list(_planned(overrides, seeds)) for name, overrides in runs.items()}
    return Section(title, settings["data"], settings["model"], planned)


def _planned(overrides: Overrides, seeds: Sequence[int]) -> Iterator[PlannedRun]:
    words = [forced(f"{key}={value}") for key, value in overrides.items()]
    cfg = hydra.compose("train", words, return_hydra_config=True)
    choices = cfg.hydra.runtime.choices
    OmegaConf.set_struct(cfg, False)
    cfg.pop("hydra")
    check_names(cfg, plain("train", choices))
    for seed in seeds:
        cfg.seed = seed
        yield PlannedRun(overrides, run_directory(cfg, choices), cfg.recipe.epochs)


def _rows(rows: Mapping[str, str], chosen: str | None) -> dict[str, Overrides]:
    """The rows by name; `chosen` ones alone, where a name is a row's or one of conf/attn."""
    if chosen is None:
        return {name: overrides(shlex.split(words)) for name, words in rows.items()}
    names = chosen.split(",")
    return {name: overrides(shlex.split(rows.get(name, f"attn={name}"))) for name in names}


def overrides(words: Iterable[str]) -> Overrides:
    """`key=value` words as a mapping; ConfigError for a word that is none."""
    pairs = [word.lstrip("+").partition("=") for word in words]
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise ConfigError(f"{wrong[0]}: write {wrong[0]}=VALUE, or --help for the choices")
    return {option(key): value for key, _, value in pairs}


def _several(value: Any) -> list[str]:
    if isinstance(value, list):
        return [str(item) for item in value]
    text = str(value)
    return [text] if set(text) & set("[{'\"") else text.split(",")


def _but_choices(said: Overrides) -> Overrides:
    """A row's own choice of a network stands; everything else said holds for every row."""
    return {key: value for key, value in said.items() if "." in key or key not in TITLE}
