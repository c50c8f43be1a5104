"""Logs of runs over several seeds -> one curve of the mean with its spread."""

import functools
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from report.reading import parse_json, read_text

MOST = 10**6  # epochs


@dataclass(frozen=True)
class Curve:
    """`mean` and `std` over `n` runs at each of `epochs` (1, 2, ...): three arrays of one length.

    `std` is the sample standard deviation (n - 1). With one run `std` is NaN.
    """

    epochs: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    n: int


def curves(folders: Iterable[Path], key: str) -> Curve:
    """The curve of `key`, for example "test.top1", over the runs in `folders`.

    Unfinished runs count too. `n` is the number of runs that have logged `key`. The curve has
    the epochs that all of these runs have logged.
    """
    logged = [series for folder in folders if (series := _series(folder, key))]
    epochs = sorted(set.intersection(*map(set, logged))) if logged else []
    shape = (len(logged), len(epochs))
    values = np.array([[series[epoch] for epoch in epochs] for series in logged]).reshape(shape)
    n = len(logged)
    mean = values.mean(0) if n else np.empty(0)
    std = values.std(0, ddof=1) if n > 1 else np.full(len(epochs), np.nan)
    return Curve(np.array(epochs, dtype=int), mean, std, n)


def rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl in `folder`, one per epoch.

    The last line may be half-written and is then left out; other lines that are no rows are left
    out and told.
    """
    path = folder / "metrics.jsonl"
    try:
        lines = read_text(path).split("\n")
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        _say(f"{path} cannot be read ({error}); its curve is left out")
        return []
    found = [_row(line) for line in lines]
    if lost := sum(row is None for row in found[:-1]):
        _say(f"{path}: {lost} lines are no epochs, and are left out")
    return [row for row in found if row is not None]


def _row(line: str) -> dict[str, Any] | None:
    """The epoch and the numbers of a line; None if the line is no row."""
    try:
        row = parse_json(line)
    except ValueError:
        return None
    if not isinstance(row, dict) or type(row.get("epoch")) is not int:
        return None
    if not 1 <= row["epoch"] <= MOST:
        return None
    return {
        key: value for key, value in row.items() if type(value) in (int, float) and _fits(value)
    }


def _fits(value: float) -> bool:
    return (
        abs(value) < 1e30 or value != value
    )  # a NaN may be logged; a number of 400 digits is none


def _series(folder: Path, key: str) -> dict[int, float]:
    return {row["epoch"]: row[key] for row in rows(folder) if key in row}


@functools.cache  # the plots and TensorBoard read the same logs: each line is said once
def _say(line: str) -> None:
    print(line, file=sys.stderr)
