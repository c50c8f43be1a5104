"""Plan a table: `conf/table/NAME.yaml` and the command line -> its runs and their directories."""

import difflib
import itertools
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import ConfigError
from engine.storage.run_dir import MACHINE_OPTIONS, RunDir
from scripts.cli.compose import compose_run
from scripts.cli.overrides import Overrides, parse_overrides
from scripts.cli.run_path import run_directory
from scripts.cli.type_check import check_options

TITLE = ("data", "model", "recipe")
TABLE = {  # the keys of a file in conf/table
    "title": str,
    "baseline": str,
    "seeds": int | Sequence[int],
    "settings": Mapping[str, Any],
    "rows": Mapping[str, str],
    "spread": bool | None,
    "published": Sequence[Any] | None,
    "remarks": Sequence[str] | None,
}


@dataclass(frozen=True)
class Section:
    """One comparison of a table: its title, and the runs of each row, one for each seed."""

    title: str
    data: str
    model: str
    rows: Mapping[str, Sequence["PlannedRun"]]


@dataclass(frozen=True)
class PlannedRun:
    """One run: the options of train.py without the seed, its directory, and its epochs."""

    overrides: Overrides
    folder: RunDir
    epochs: int

    @property
    def seed(self) -> int:
        return self.folder.labels["seed"]


def check_table(table: Mapping[str, Any]) -> None:
    """ConfigError for the first key of conf/table/NAME.yaml that is unknown, missing or wrong."""
    if not isinstance(table, Mapping):
        raise ConfigError("table: the file holds no keys; title, settings and rows are needed")
    for key in table:
        if key not in TABLE:
            near = difflib.get_close_matches(str(key), TABLE, 1, 0.5) or list(TABLE)
            raise ConfigError(f"table.{key}: unknown key; did you mean {' or '.join(near)}?")
    check_options(
        {f"table.{k}": table.get(k) for k in TABLE}, {f"table.{k}": TABLE[k] for k in TABLE}
    )
    if missing := [key for key in TITLE if key not in table["settings"]]:
        raise ConfigError(f"table.settings.{missing[0]} is missing")
    for name, words in table["rows"].items():
        try:
            row = parse_overrides(shlex.split(words))
        except (ValueError, ConfigError) as error:
            raise ConfigError(f"table.rows.{name}: {error}") from error
        if "attn" not in row or "seed" in row:
            raise ConfigError(f"table.rows.{name}={words}: a row has attn=... and no seed")


def plan_sections(
    table: Mapping[str, Any], overrides: Overrides, seeds: Sequence[int]
) -> list[Section]:
    """The comparisons of a table; `overrides` from the command line change its runs.

    A setting with several values makes one comparison for each value; `attn=a,b` chooses the rows.
    """
    changed = dict(overrides)
    rows = _rows(table["rows"], changed.pop("attn", None))
    settings = {key: _several(value) for key, value in (table["settings"] | changed).items()}
    return [
        _section(dict(zip(settings, values, strict=True)), rows, changed, seeds)
        for values in itertools.product(*settings.values())
    ]


def seeds_of(planned: int | Sequence[int], said: int | str | Sequence[int] | None) -> list[int]:
    """The seeds of a table: `said` on the command line, or else those of its file.

    5 means 0 to 4, [0,2,5] these, and "+3" three more than the file has. ConfigError for others.
    """
    seeds = _listed(planned)
    if isinstance(said, str):
        if not re.fullmatch(r"\+[1-9]\d{0,3}", said):
            raise ConfigError(f"seeds={said}: expected how many, which, or more: 3, [0,2,5] or +3")
        unused = (seed for seed in itertools.count() if seed not in seeds)
        seeds += itertools.islice(unused, int(said))
    elif said is not None:
        seeds = _listed(said)
    if not seeds or min(seeds) < 0 or len({*seeds}) < len(seeds):
        raise ConfigError(f"seeds={said}: expected how many, or which: seeds=3 or seeds=[0,2,5]")
    return seeds


def _listed(seeds: int | Sequence[int]) -> list[int]:
    return list(range(seeds)) if isinstance(seeds, int) else list(seeds)


def label_overrides(overrides: Overrides) -> str:
    """The options that change results, not the machine's options, as one name for a folder."""
    return ",".join(
        f"{key}={value}"
        for key, value in overrides.items()
        if key not in MACHINE_OPTIONS and not key.startswith("hydra")
    )


def _section(
    settings: Overrides, rows: Mapping[str, Overrides], changed: Overrides, seeds: Sequence[int]
) -> Section:
    known = [f"recipe {settings['recipe']}" if k == "recipe" else settings[k] for k in TITLE]
    rest = {k: v for k, v in settings.items() if k not in TITLE}
    title = ", ".join([*known, *filter(None, [label_overrides(rest)])])
    runs = {name: settings | row | _without_choices(changed) for name, row in rows.items()}
    planned = {name: list(_planned(overrides, seeds)) for name, overrides in runs.items()}
    return Section(title, settings["data"], settings["model"], planned)


def _planned(overrides: Overrides, seeds: Sequence[int]) -> Iterator[PlannedRun]:
    cfg, choices = compose_run(overrides)
    for seed in seeds:
        cfg.seed = seed
        yield PlannedRun(overrides, run_directory(cfg, choices), cfg.recipe.epochs)


def _rows(rows: Mapping[str, str], chosen: str | None) -> dict[str, Overrides]:
    """The rows by name. `chosen` selects rows, by a name of a row or of a file in conf/attn."""
    if chosen is None:
        return {name: parse_overrides(shlex.split(words)) for name, words in rows.items()}
    names = chosen.split(",")
    return {name: parse_overrides(shlex.split(rows.get(name, f"attn={name}"))) for name in names}


def _several(value: Any) -> list[str]:
    if isinstance(value, list):
        return [str(item) for item in value]
    text = str(value)
    return [text] if set(text) & set("[{'\"") else text.split(",")


def _without_choices(changed: Overrides) -> Overrides:
    """A row keeps its own data, model and recipe; all other changes hold for every row."""
    return {key: value for key, value in changed.items() if "." in key or key not in TITLE}
