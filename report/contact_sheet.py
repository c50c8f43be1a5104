"""Pictures with what a network takes them for, side by side."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from report.cam import shorten
from report.writing import replacing

COLUMNS = 6
CELL = 1.9  # inches
LONGEST = 24  # characters of a name
SHOWN = 3  # guesses below a picture


@dataclass(frozen=True)
class Guessed:
    """A picture, `pixels` (H, W, C) as the network sees it, and its best guesses.

    `guesses`: (name of the class, probability), the best one first.
    """

    name: str
    pixels: np.ndarray
    guesses: Sequence[tuple[str, float]]


def draw(path: Path, pictures: Sequence[Guessed], heading: str) -> None:
    """Write the pictures with their guesses to `path` as a PNG."""
    columns = min(COLUMNS, len(pictures))
    rows = math.ceil(len(pictures) / columns)
    figure = Figure((CELL * columns + 0.4, (CELL + 0.7) * rows + 0.5), dpi=120, layout="compressed")
    figure.suptitle(heading, fontsize=9, parse_math=False)
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.axis("off")
    for axis, picture in zip(axes, pictures, strict=False):
        axis.imshow(picture.pixels.squeeze(), cmap="gray")  # RGB images ignore the colours
        lines = [
            f"{100 * p:.0f} %  {shorten(name, LONGEST)}" for name, p in picture.guesses[:SHOWN]
        ]
        axis.set_title(shorten(picture.name, LONGEST), fontsize=7, color="grey", parse_math=False)
        axis.text(
            0.5, -0.05, "\n".join(lines), fontsize=8, ha="center", va="top",
            transform=axis.transAxes, parse_math=False,
        )  # fmt: skip
    with replacing(path) as file:
        figure.savefig(file, format="png", bbox_inches="tight", pad_inches=0.08)
