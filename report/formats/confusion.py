"""Which classes a network takes for which: lines, a CSV file, and a picture."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from report.cam import shorten
from report.formats.plots import RC
from report.formats.text import cell
from report.writing import replacing, write_text

NAMED = 40  # classes whose names fit the axes
LONGEST = 20  # characters of a name in the picture


def count(labels: np.ndarray, guesses: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes): the number of images of class `row` that were taken for `column`."""
    found = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(found, (labels, guesses), 1)
    return found


def most_confused(counts: np.ndarray, classes: Sequence[str], most: int = 10) -> Iterator[str]:
    """A line for each of the most frequent mistakes, the most frequent one first."""
    wrong = counts - np.diag(np.diag(counts))
    for place in np.argsort(-wrong, axis=None, kind="stable")[:most]:
        true, guess = divmod(int(place), len(classes))
        if wrong[true, guess]:
            of = counts[true].sum()
            yield f"{wrong[true, guess]:5} of {of:,}  {classes[true]} taken for {classes[guess]}"


def write(counts: np.ndarray, classes: Sequence[str], folder: Path) -> list[Path]:
    """Write confusion.csv and confusion.png into `folder`; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    table, picture = folder / "confusion.csv", folder / "confusion.png"
    write_text(table, spreadsheet(counts, classes))
    with replacing(picture) as file:
        draw(counts, classes).savefig(file, format="png", dpi=120, bbox_inches="tight")
    return [table, picture]


def spreadsheet(counts: np.ndarray, classes: Sequence[str]) -> str:
    """CSV: a line for each true class, a column for each class that was guessed."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["true class", *map(cell, classes)])
    for name, row in zip(classes, counts.tolist(), strict=True):
        writer.writerow([cell(name), *row])
    return out.getvalue()


@matplotlib.rc_context(RC)
def draw(counts: np.ndarray, classes: Sequence[str]) -> Figure:
    """The share of each true class, row by row; names on the axes where they fit."""
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = 3 + 0.16 * min(len(classes), NAMED)
    figure = Figure((side + 0.8, side))
    axis = figure.subplots()
    image = axis.imshow(share, cmap="cividis", vmin=0, vmax=1)
    if len(classes) <= NAMED:
        names = [shorten(name, LONGEST).replace("$", r"\$") for name in classes]
        axis.set_xticks(range(len(names)), names, rotation=90, fontsize=7)
        axis.set_yticks(range(len(names)), names, fontsize=7)
    axis.set(xlabel="class that was guessed", ylabel="true class")
    figure.colorbar(image, ax=axis, label="share of the true class")
    return figure
