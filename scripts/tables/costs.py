"""The cost of the rows of a table, measured side by side once and kept beside the table."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.storage.atomic import read_json, write_json
from scripts.cli.compose import build, compose_run
from scripts.tables.launch import find_record
from scripts.tables.plan import PlannedRun, Section

SECONDS = 3.0  # for each row, of training and of inference together
Costs = dict[
    str, dict[str, dict[str, Any]]
]  # comparison -> row -> what engine.benchmark.timing says


def costs(sections: Sequence[Section], baseline: str, kept: Path, measure: bool) -> Costs:
    """The costs in the file `kept`; with `measure`, rows with finished runs are added."""
    found: Costs = read_json(kept) or {}
    for section in sections:
        rows = {name: runs[0] for name, runs in section.rows.items() if any(map(_finished, runs))}
        known = found.get(section.title, {})
        if measure and baseline in rows and not known.keys() >= rows.keys():
            found[section.title] = _measured(rows, baseline)
            kept.parent.mkdir(parents=True, exist_ok=True)
            write_json(kept, found)
    return found


def _finished(run: PlannedRun) -> bool:
    return find_record(run)[0] is not None


def _measured(rows: Mapping[str, PlannedRun], baseline: str) -> dict[str, dict[str, Any]]:
    from engine.benchmark.timing import (
        compare,  # torch, which a table of finished runs does without
    )

    workloads = {name: _workload(run) for name, run in rows.items()}
    return {k: asdict(v) for k, v in compare(workloads, baseline, SECONDS).items()}


def _workload(planned: PlannedRun) -> Any:
    import torch

    from engine.benchmark.timing import Workload
    from engine.environment import prepare_device
    from engine.training.run import Run

    cfg, _ = compose_run(planned.overrides)
    torch.manual_seed(0)
    device = prepare_device(cfg.device)
    run = Run(build(cfg.model), build(cfg.recipe), 0, device, cfg.precision, compile=cfg.compile)
    return Workload.of(run, cfg.data.image_size, cfg.data.num_classes)
