"""Measure networks side by side: `python scripts/speed.py model=a,b attn=none,c [mode=...]`."""

import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig

from engine.errors import ConfigError, as_config_error
from report.speed import Speed, SpeedRow, in_json
from report.speed_table import markdown, write
from scripts.benchmarks.grid import OWN, combinations, compose, name, plain, reference
from scripts.cli.app import run_app
from scripts.cli.type_check import describe, fits
from scripts.tables.plan import Overrides, overrides

KINDS = {
    "what": Literal["networks", "modules", "loop"],
    "against": str | None,
    "batch_size": int,
    "seconds": float,
    "rounds": int,
    "to": str,
    "json": bool,
}


def split(arguments: Sequence[str]) -> tuple[list[str], Overrides]:
    """The command line: what is for this script and Hydra, and what is for train.py."""
    own, of_runs = [], []
    for argument in arguments:
        mine = argument.startswith("-") or re.split("[.=]", argument.lstrip("+"))[0] in OWN
        (own if mine or argument.startswith("hydra.") else of_runs).append(argument)
    return own, overrides(of_runs)


def main(said: Overrides, cfg: DictConfig) -> None:
    """Measure, print the tables and write their files."""
    check(cfg)
    chosen = combinations(said, cfg.against)
    for one in chosen:
        compose(one, cfg.batch_size)  # wrong names are told before anything is built
    speed = measured(chosen, cfg)
    print(in_json(speed) if cfg.json else markdown(speed))
    with as_config_error("to"):
        written = write(speed, Path(cfg.to))
    print(*written, file=sys.stderr)


def check(cfg: DictConfig) -> None:
    """Raise ConfigError for the first option whose value cannot be."""
    for option, kind in KINDS.items():
        if not fits(cfg[option], kind):
            raise ConfigError(f"{option}={cfg[option]}: expected {describe(kind)}")
    for option, least in {"batch_size": 2, "rounds": 3}.items():
        if cfg[option] < least:
            raise ConfigError(f"{option}={cfg[option]}: expected {least} or more")


def measured(chosen: Sequence[Overrides], cfg: DictConfig) -> Speed:
    """All of `chosen`, and what they are compared with, in one race."""
    import torch  # not before the names are checked

    from engine.benchmark.timing import measure_interleaved
    from engine.environment import device_name, revision
    from scripts.benchmarks.suite import BenchmarkSuite

    suite = BenchmarkSuite(cfg.batch_size)
    add = getattr(suite, cfg.what)
    rows = [_row(one, cfg.against, add(one)) for one in chosen]
    found = measure_interleaved(suite.workloads, cfg.seconds, cfg.rounds)
    first = suite.workloads[rows[0].name]
    setting = {
        "what": cfg.what,
        "against": cfg.against,
        "batch_size": cfg.batch_size,
        "rounds": found.rounds,
        "steps": found.steps,
        "machine": device_name(first.device),
        "torch": torch.__version__,
        "revision": revision(),
    }
    return Speed(rows, found.train, found.infer, found.memory, suite.loaders, setting)


def _row(chosen: Overrides, against: str | None, beside: dict[str, object]) -> SpeedRow:
    others = (plain(chosen), reference(chosen, against) if against else chosen)
    names = (name(other) if other != chosen else None for other in others)
    return SpeedRow(name(chosen), chosen, *names, **beside)


if __name__ == "__main__":
    try:
        sys.argv[1:], said = split(sys.argv[1:])
    except ConfigError as refusal:
        sys.exit(f"speed.py: {refusal}")
    run_app(partial(main, said), "speed")
