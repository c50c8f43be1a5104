"""What runs of several seeds logged, epoch by epoch -> one curve with its spread."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Curve:
    """`mean` and `std` over `n` runs at each of `epochs` (from 1); three arrays of one length.

    `std` is the sample deviation (n - 1): NaN where there is one run.
    """

    epochs: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    n: int


def curves(folders: Iterable[Path], key: str) -> Curve:
    """The curve of `key`, as in "test.top1", over the runs in `folders`, running ones as well.

    Of the runs that have logged `key`, which `n` counts, only the epochs that all of them have.
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
    """The lines of its metrics.jsonl, one per epoch; without one torn off in being written."""
    try:
        lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _series(folder: Path, key: str) -> dict[int, float]:
    return {row["epoch"]: row[key] for row in rows(folder) if key in row}
