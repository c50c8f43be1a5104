"""Logs of runs over several seeds -> one curve of the mean with its spread."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


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
    """The rows of metrics.jsonl in `folder`, one per epoch. A half-written last line is skipped."""
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _series(folder: Path, key: str) -> dict[int, float]:
    return {row["epoch"]: row[key] for row in rows(folder) if key in row}
