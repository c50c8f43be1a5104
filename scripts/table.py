"""Compare runs: `python scripts/table.py table=NAME [run=true]`, or `runs=DIR`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the packages of this checkout, before others

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from engine.errors import ConfigError, as_config_error
from report.formats.latex import latex
from report.formats.text import markdown
from report.formats.write import folder_name, write
from report.published import published
from report.records import collect
from report.remarks import remarks
from report.table import (
    Comparison,
    Table,
    TableRow,
    by_images,
    judged,
    of_records,
    with_published,
)
from scripts.cli.app import refuse, run_app
from scripts.cli.overrides import CONF, Overrides, split_words
from scripts.cli.type_check import check_options
from scripts.tables.costs import Costs, costs
from scripts.tables.launch import describe_missing, find_record, missing_runs, train_missing
from scripts.tables.plan import Section, check_table, label_overrides, plan_sections, seeds_of

OWN = {*OmegaConf.load(CONF / "table.yaml"), "table"} - {"hydra"}  # the rest is for the runs
OPTIONS = {
    "runs": str | Sequence[str],
    "run": bool,
    "seeds": int | str | Sequence[int] | None,
    "cost": bool | None,
    "test": Literal["dunnett", "paired"],
    "select": Literal["test", "val"],
    "within": float | None,
    "baseline": str | None,
    "to": str,
    "latex": bool,
}


def main(command: str, said: Overrides, cfg: DictConfig) -> None:
    """Train the missing runs with run=true; print the table and write its files."""
    check_options(OmegaConf.to_container(cfg), OPTIONS)
    missing = 0
    if "table" in cfg:
        table, folder, missing = planned(cfg, said)
    elif said:
        raise ConfigError(
            f"{next(iter(said))}: this is for the runs of a table; say which: table=NAME"
        )
    else:
        roots = _roots(cfg)
        table, folder = found(cfg, roots), Path(cfg.to, "+".join(root.name for root in roots))
    ran = any(row.n for comparison in table.comparisons for row in comparison.rows)
    shown = replace(table, only_published=()) if ran else table  # the files have it all
    print(latex(shown) if cfg.latex else markdown(shown))
    if ran:
        with as_config_error("to"):
            first, *others = write(table, folder, command)
        print(f"look at it: {first}\nalso there: {', '.join(path.name for path in others)}")
        print(f"curves:     tensorboard --logdir '{folder / 'board'}'")
    if cfg.run and missing:
        sys.exit(f"table.py: {missing} of the runs did not finish; the same command tries again")


def found(cfg: DictConfig, roots: Sequence[Path]) -> Table:
    """The table of every finished run below the `roots`."""
    runs, below = collect(*roots), ", ".join(map(str, roots))
    if not runs.records:
        left = "".join(f"; {path}: {why}" for path, why in list(runs.left_out.items())[:3])
        raise ConfigError(f"runs={below}: no finished run below it{left}")
    given = [replace(c, baseline=cfg.baseline or c.baseline) for c in of_records(runs.records)]
    with as_config_error(f"select={cfg.select}"):
        given = [by_images(c, cfg.select) for c in given]
    comparisons = judged(given, cfg.test)
    if cfg.baseline and not any(c.row(cfg.baseline) for c in comparisons):
        names = dict.fromkeys(row.name for c in comparisons for row in c.rows)
        raise ConfigError(f"baseline={cfg.baseline}: choose from {', '.join(names)}")
    said = [f"{c.title}: {r}" for c in comparisons for r in remarks(c, margin=cfg.within)]
    return Table(f"Runs below {below}", comparisons, said + _left_out(runs.left_out))


def _roots(cfg: DictConfig) -> list[Path]:
    return [Path(root) for root in ([cfg.runs] if isinstance(cfg.runs, str) else cfg.runs)]


def planned(cfg: DictConfig, said: Overrides) -> tuple[Table, Path, int]:
    """The table that `cfg` names, its folder, and the number of runs that are still missing."""
    if not isinstance(cfg.runs, str):
        raise ConfigError(
            "runs=[...]: a table trains into one folder; without table=, take several"
        )
    if "seed" in said:
        raise ConfigError(f"seed={said['seed']}: a table has several; say seeds=[{said['seed']}]")
    conf = OmegaConf.to_container(cfg.table)
    check_table(conf)
    baseline = cfg.baseline or conf["baseline"]
    if baseline not in conf["rows"]:
        raise ConfigError(f"baseline={baseline}: choose from {', '.join(conf['rows'])}")
    seeds = seeds_of(conf["seeds"], cfg.seeds)
    plan = plan_sections(conf, said | {"out": str(cfg.runs)}, seeds)
    if missing := missing_runs(plan):
        print(describe_missing(plan, missing, collect(Path(cfg.runs)).records))
        print("" if cfg.run else "add run=true to train them\n", flush=True)
        if cfg.run:
            train_missing(missing)
    name = HydraConfig.get().runtime.choices["table"]
    folder = Path(cfg.to, name, *map(folder_name, filter(None, [label_overrides(said)])))
    measure = cfg.cost or (cfg.cost is None and cfg.run)
    cost = costs(plan, conf["baseline"], folder / "cost.json", measure)
    if baseline != conf["baseline"]:  # the costs are relative to the table's own baseline
        cost = {}
    changed = label_overrides({key: value for key, value in said.items() if key != "attn"})
    comparisons, left_out = _rows(plan, cost, baseline)
    with as_config_error(f"select={cfg.select}"):
        shown = [
            replace(c, changed=changed, show_spread=bool(conf.get("spread"))) for c in comparisons
        ]
        comparisons = [by_images(c, cfg.select) for c in shown]
    table = _table(cfg, conf, judged(comparisons, cfg.test), seeds)
    notes = [*table.remarks, *_left_out(left_out)]
    return replace(table, remarks=notes), folder, len(missing_runs(plan))


def _table(
    cfg: DictConfig,
    conf: Mapping[str, Any],
    comparisons: Sequence[Comparison],
    seeds: Sequence[int],
) -> Table:
    """The judged comparisons with published values and remarks."""
    with as_config_error("table"):
        values = published(conf.get("published") or [])
    compared, others = with_published(comparisons, values if cfg.select == "test" else [])
    said = [f"{c.title}: {r}" for c in compared for r in remarks(c, seeds, cfg.within)]
    return Table(conf["title"], compared, [*conf.get("remarks", []), *said], others)


def _rows(
    plan: Sequence[Section], cost: Costs, baseline: str
) -> tuple[list[Comparison], dict[Path, str]]:
    """The comparisons with their finished runs; the runs that were left out, with the reason."""
    comparisons, left_out = [], {}
    for section in plan:
        rows = []
        for name, runs in section.rows.items():
            read = {run.folder.path: find_record(run) for run in runs}
            left_out |= {path: why for path, (of, why) in read.items() if not of and path.exists()}
            measured = cost.get(section.title, {}).get(name)
            rows.append(TableRow(name, [of for of, _ in read.values() if of], cost=measured))
        own = (section.title, section.data, section.model, rows, baseline)
        comparisons.append(Comparison(*own))
    return comparisons, left_out


def _left_out(folders: Mapping[Path, str]) -> list[str]:
    return [f"left out: {folder}: {why}" for folder, why in folders.items()]


if __name__ == "__main__":
    command = shlex.join(["python", "scripts/table.py", *sys.argv[1:]])
    try:
        sys.argv[1:], said = split_words(sys.argv[1:], OWN)
    except ConfigError as refusal:
        sys.exit(refuse(str(refusal)))
    run_app(partial(main, command, said), "table")
