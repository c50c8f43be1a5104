"""Measure networks side by side: `python scripts/speed.py model=a,b attn=none,c [mode=...]`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the packages of this checkout, before others

from collections.abc import Sequence
from functools import partial
from typing import Literal

from omegaconf import DictConfig, OmegaConf

from engine.errors import ConfigError, as_config_error
from report.formats.speed_table import markdown, write
from report.speed import Speed, in_json
from scripts.benchmarks.grid import OWN, Combination, combinations
from scripts.cli.app import refuse, run_app
from scripts.cli.overrides import Overrides, split_words
from scripts.cli.type_check import check_options

OPTIONS = {
    "what": Literal["networks", "modules", "loop"],
    "against": str | None,
    "batch_size": int,
    "seconds": float,
    "rounds": int,
    "to": str,
    "json": bool,
}
LEAST = {"batch_size": 2, "rounds": 3}


def main(overrides: Overrides, cfg: DictConfig) -> None:
    """Measure the networks, print the tables and write their files."""
    check(cfg)
    chosen = combinations(overrides, cfg.against)
    for combination in chosen:
        combination.compose(cfg.batch_size)  # all names are checked before a network is built
    speed = measure(chosen, cfg)
    print(in_json(speed) if cfg.json else markdown(speed))
    with as_config_error("to"):
        written = write(speed, Path(cfg.to))
    print(*written, file=sys.stderr)


def check(cfg: DictConfig) -> None:
    """Raise ConfigError for the first option with an impossible value."""
    check_options(OmegaConf.to_container(cfg), OPTIONS)
    for option, least in LEAST.items():
        if cfg[option] < least:
            raise ConfigError(f"{option}={cfg[option]}: expected {least} or more")


def measure(chosen: Sequence[Combination], cfg: DictConfig) -> Speed:
    """The times of all `chosen` combinations and of their references, measured in turns."""
    import torch  # not before the names are checked

    from engine.benchmark.timing import measure_interleaved
    from engine.environment import device_name, revision
    from scripts.benchmarks.suite import SUITES

    suite = SUITES[cfg.what](cfg.batch_size, cfg.against)
    rows = [suite.add(combination) for combination in chosen]
    found = measure_interleaved(suite.workloads, cfg.seconds, cfg.rounds)
    setting = {
        "what": cfg.what,
        "against": cfg.against,
        "batch_size": cfg.batch_size,
        "rounds": found.rounds,
        "steps": found.steps,
        "machine": device_name(suite.workloads[rows[0].name].device),
        "torch": torch.__version__,
        "revision": revision(),
    }
    return Speed(rows, found.train, found.infer, found.memory, suite.loaders, setting)


if __name__ == "__main__":
    try:
        sys.argv[1:], overrides = split_words(sys.argv[1:], OWN)
    except ConfigError as error:
        sys.exit(refuse(str(error)))
    run_app(partial(main, overrides), "speed")
