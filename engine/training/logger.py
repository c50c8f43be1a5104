"""The log of a run: for each epoch a line on the terminal, a line on disk, points in TensorBoard.

`metrics.jsonl` holds nothing that depends on the clock: an interrupted run and an uninterrupted run
end with the same file.
"""

import json
import multiprocessing
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams
from tqdm import tqdm

from engine.complexity import cost
from engine.errors import ConfigError
from engine.storage.atomic import write_text, writing
from engine.storage.run_dir import RunDir, flatten
from engine.training.gate_stats import GateStatistics
from engine.training.run import Run

METRICS = ("test/top1", "test/top5", "test/best_top1")  # TensorBoard shows them beside hparams
GATES = (
    "`gate/<stage>/mean` is the mean of all numbers by which the attention of a stage multiplies "
    "its input, on the images that are evaluated: 1 leaves a map as it is, 0.5 halves the map. "
    "`gate/<stage>/std` is their standard deviation: near 0, the module is a constant."
)
WIDTH = 80  # columns of a terminal
LAYOUT = {  # charts of TensorBoard with a curve for each stage
    "attention": {
        "gates, mean by stage": ["Multiline", ["gate/.*/mean"]],
        "gates, deviation by stage": ["Multiline", ["gate/.*/std"]],
        "decisions by operator and stage": ["Multiline", ["decision/.*"]],
    }
}


class RunLogger:
    """The log of `run` in `folder`; it goes on after the epochs that the run has finished.

    ConfigError if the log lacks epochs of the checkpoint.
    """

    def __init__(self, folder: RunDir, run: Run) -> None:
        self.path = folder.path / "metrics.jsonl"
        self.whose = _whose(folder.labels) if multiprocessing.parent_process() else ""
        epoch = run.epoch
        tqdm.write(f"{folder.path}: " + (f"resuming after epoch {epoch}" if epoch else str(run)))
        self.rows = self._rows()[:epoch]
        if [row.get("epoch") for row in self.rows] != list(range(1, epoch + 1)):
            raise ConfigError(f"{self.path} lacks epochs that the checkpoint has; restore it")
        write_text(self.path, "".join(json.dumps(row) + "\n" for row in self.rows))
        if not epoch:  # an attempt without a finished epoch leaves no curve
            for stale in folder.path.glob("events.out.*"):
                stale.unlink()
        # A killed process may have written points after its checkpoint; purge_step drops them.
        self.events = folder.path / "events.out.tfevents"
        with writing(self.events):
            self.board = SummaryWriter(folder.path, purge_step=epoch + 1)
            self.events = max(folder.path.glob("events.out.*"))  # the time is part of the name
            if not epoch:
                self._introduce(folder, run)

    def __enter__(self) -> "RunLogger":
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # a failed write was reported when it happened
            self.board.close()

    def epoch(self, run: Run, passes: dict[str, dict[str, float]]) -> None:
        """Log the epoch that `run` ends: the numbers of each pass ("train", "val", "test")."""
        epoch, scalars = run.epoch + 1, dict(flatten(passes))
        row = {"epoch": epoch} | scalars
        self.rows.append(row)
        with writing(self.path), self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        seen = [row["test.top1"] for row in self.rows if "test.top1" in row]
        best = {"test.best_top1": max(seen)} if len(seen) == len(self.rows) else {}
        points = scalars | best | {"train.images_per_second": run.images_per_second}
        with writing(self.events):
            for name, value in points.items():
                self.board.add_scalar(name.replace(".", "/"), value, epoch)
            self.board.flush()
        tqdm.write(_line(self.whose, row, run))

    def say(self, line: str) -> None:
        """Print a line for whoever watches the run; no file holds it."""
        tqdm.write(self.whose + line, file=sys.stderr)

    def attention(self, run: Run, seen: GateStatistics) -> None:
        """Log the gates and decisions of the attention in the epoch that `run` ends."""
        epoch = run.epoch + 1
        scalars = seen.scalars()
        with writing(self.events):
            for name, value in scalars.items():
                self.board.add_scalar(name, value, epoch)
            if scalars and epoch == 1:
                self.board.add_custom_scalars(LAYOUT)
            for name, picture in seen.pictures().items():
                self.board.add_image(name, picture, epoch)
            self.board.flush()

    def _rows(self) -> list[dict[str, Any]]:
        return list(_whole(self.path.read_text())) if self.path.exists() else []

    def _introduce(self, folder: RunDir, run: Run) -> None:
        """Log the configuration as text and as hparams; add_hparams would make a second run."""
        leaves = {name: str(value) for name, value in flatten(folder.config)}
        table = "\n".join(f"| `{name}` | {value} |" for name, value in leaves.items())
        self.board.add_text("config", f"| option | value |\n|---|---|\n{table}", 0)
        self.board.add_text("gate", GATES, 0)
        for summary in hparams(folder.labels | _numbers(folder, run), dict.fromkeys(METRICS)):
            self.board.file_writer.add_summary(summary)


class NullLogger:
    """No log: for all ranks but rank 0."""

    rows: Sequence[dict[str, Any]] = ()

    def __enter__(self) -> "NullLogger":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def epoch(self, run: Run, passes: dict[str, dict[str, float]]) -> None:
        pass

    def say(self, line: str) -> None:
        pass

    def attention(self, run: Run, seen: GateStatistics) -> None:
        pass


def _numbers(folder: RunDir, run: Run) -> dict[str, float]:
    """The hparams by which TensorBoard can sort and filter runs."""
    counted = cost(run.model, folder.config["data"]["image_size"])
    return {
        "lr": run.recipe.lr,
        "batch_size": run.recipe.batch_size,
        "epochs": run.recipe.epochs,
        "weight_decay": run.optimizer.defaults.get("weight_decay", 0.0),
        "params": counted.params,
        "macs": counted.macs,
    }


def _whose(labels: Mapping[str, Any]) -> str:
    """The run's name before each line, for runs side by side that share a terminal."""
    return f"{labels['model']} {labels['attn']} seed {labels['seed']}  "


def _line(whose: str, row: dict[str, Any], run: Run) -> str:
    """The line of an epoch, of at most WIDTH columns: what matters least is left out first.

    `metrics.jsonl` holds all of it, and the top-5 accuracy.
    """
    watched = next(split for split in ("val", "test") if f"{split}.top1" in row)
    weights = " (ema)" if run.recipe.ema is not None else ""
    parts = {
        "epoch": f"{whose}epoch {row['epoch']:>3}/{run.recipe.epochs}",
        "lr": f"lr {row['train.lr']:.4f}",
        "loss": f"loss {row['train.loss']:.3f}",
        "train": f"train {row['train.top1']:5.2f} %",
        "watched": f"{watched}{weights} {row[f'{watched}.top1']:5.2f} %",
        "pace": f"{run.images_per_second:,.0f} img/s",
    }
    for name in ("lr", "loss", "pace", "train"):
        if len("  ".join(parts.values())) > WIDTH:
            del parts[name]
    return "  ".join(parts.values())


def _whole(lines: str) -> Iterator[dict[str, Any]]:
    """The rows, without lines that a killed process or a failing disk left incomplete."""
    for line in lines.splitlines():
        with suppress(ValueError):
            if isinstance(row := json.loads(line), dict):
                yield row
