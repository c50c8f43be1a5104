"""The missing runs of a table: list them, estimate their time, train them."""

import os
import shlex
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from engine.errors import ConfigError
from engine.signals import exit_on_signals
from report.records import Record, epochs_done, read_record
from scripts.cli.processes import PARENT
from scripts.tables.plan import PlannedRun, Section

TRAIN = Path(__file__).parents[2] / "train.py"
UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def find_record(run: PlannedRun) -> tuple[Record | None, str]:
    """The record of a planned run; or None, and the reason why the record cannot be used."""
    found, reason = read_record(run.folder.path)
    if found and found["config"] != run.folder.fingerprint and _differs(run):
        return None, "it holds a run of another configuration"
    return found, reason


def _differs(run: PlannedRun) -> bool:
    """Whether the stored configuration differs, apart from old names of classes and options."""
    try:
        return run.folder.differences() != []
    except ConfigError:
        return True


def missing_runs(plan: Sequence[Section]) -> list[PlannedRun]:
    """The planned runs without a record."""
    every = (run for section in plan for runs in section.rows.values() for run in runs)
    return [run for run in every if find_record(run)[0] is None]


def describe_missing(
    plan: Sequence[Section], missing: Sequence[PlannedRun], records: list[Record]
) -> str:
    """The missing runs row by row, and the time that they take, estimated from `records`."""
    total = sum(len(runs) for section in plan for runs in section.rows.values())
    times = {run.folder.path: estimate_seconds(run, records) for run in missing}
    lines = [f"missing: {len(missing)} of {total} runs, {_sum(times.values())}"]
    for section in plan:
        for name, runs in section.rows.items():
            of_row = [run for run in runs if run.folder.path in times]
            if of_row:
                seeds = ", ".join(map(_seed, of_row))
                lines.append(f"  {section.model} {name}: seeds {seeds}")
    return "\n".join(lines)


def estimate_seconds(run: PlannedRun, records: Iterable[Record]) -> float | None:
    """The time of a run, from the most similar finished runs; None if no run is similar.

    A similar run has the same network and data; the most similar one also has the same recipe,
    attention and other options.
    """
    labels, done = run.folder.labels, epochs_done(run.folder.path)
    alike: dict[int, list[float]] = {}
    for one in records:
        if all(one[key] == labels[key] for key in ("data", "model")):
            score = sum(one[key] == labels[key] for key in ("recipe", "attn", "other"))
            alike.setdefault(score, []).append(one["train_seconds"] / one["epochs"])
    if not alike:
        return None
    nearest = alike[max(alike)]
    return sum(nearest) / len(nearest) * max(0, run.epochs - done)


def train_missing(missing: Sequence[PlannedRun]) -> None:
    """Train these runs in sweeps. A run that fails is reported and does not stop the others."""
    for words in sweep_arguments(missing):
        print(shlex.join(["python", "train.py", "-m", *words]), flush=True)
        code = _train([sys.executable, str(TRAIN), "-m", *words])
        if code < 0 or code > 128:  # a signal to the sweep ends this command too
            print("stopped; repeat the command to go on", file=sys.stderr)
            raise SystemExit(128 - code if code < 0 else code)


def _train(command: Sequence[str]) -> int:
    """Run the sweep to its end, and return its exit code; a signal to this process ends it."""
    environment = os.environ | {PARENT: str(os.getpid())}
    with subprocess.Popen(command, env=environment) as sweep:
        exit_on_signals(lambda: [sweep.pid])
        try:
            return sweep.wait()
        finally:
            exit_on_signals()


def sweep_arguments(missing: Iterable[PlannedRun]) -> Iterator[list[str]]:
    """The arguments of `train.py -m` for the fewest sweeps that hold these runs.

    One sweep holds all runs that differ only in attention and seed. The attention changes fastest:
    the table fills seed by seed.
    """
    together: dict[tuple[str, ...], list[PlannedRun]] = {}
    for run in missing:
        shared = (f"{key}={value}" for key, value in run.overrides.items() if key != "attn")
        together.setdefault(tuple(shared), []).append(run)
    for shared, runs in together.items():
        seeds = ",".join(map(str, sorted({run.seed for run in runs})))
        attns = ",".join(dict.fromkeys(run.overrides["attn"] for run in runs))
        yield [*shared, f"seed={seeds}", f"attn={attns}"]


def format_duration(seconds: float) -> str:
    """In the largest unit that makes at least 1.5: 80 s, 2 min, 1.8 h."""
    name, unit = next(((n, u) for n, u in UNITS if seconds >= 1.5 * u), UNITS[-1])
    digits = 1 if unit > 60 and seconds < 10 * unit else 0
    return f"{seconds / unit:.{digits}f} {name}"


def _sum(times: Iterable[float | None]) -> str:
    known = list(times)
    if None in known:
        return "time unknown until a similar run has finished"
    return f"about {format_duration(sum(known))} one after another"


def _seed(run: PlannedRun) -> str:
    done = epochs_done(run.folder.path)
    return f"{run.seed} (at epoch {done} of {run.epochs})" if done else str(run.seed)
