"""Heat maps over images, in one picture: a row for each image, a column for each run."""

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

CELL = 1.6  # inches
COLORS = "inferno"  # perceptually uniform, and dark where there is nothing
RIGHT, WRONG = "#0072B2", "#B33C00"  # told apart by the color-blind too
GREY = (0.299, 0.587, 0.114)  # luma of R, G and B, ITU-R BT.601


@dataclass(frozen=True)
class Pictured:
    """N images: `pixels` (N, H, W, 3) uint8, `labels` (N,), their `indices` in the split."""

    pixels: np.ndarray
    labels: np.ndarray
    classes: Sequence[str]
    indices: Sequence[int]


@dataclass(frozen=True)
class Seen:
    """What one run made of them: `heat` (N, H, W) in [0, 1], `guesses` and their `probs` (N,)."""

    name: str
    heat: np.ndarray
    guesses: np.ndarray
    probs: np.ndarray


def draw(path: Path, images: Pictured, runs: Sequence[Seen], heading: str) -> None:
    """Write the picture, a PNG, to `path`."""
    rows, columns = len(images.pixels), 1 + len(runs)
    size = (CELL * columns + 0.8, (CELL + 0.2) * rows + 0.6)
    figure = Figure(size, dpi=120, layout="compressed")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)
    figure.suptitle(heading, fontsize=9, parse_math=False)
    axes = figure.subplots(rows, columns, squeeze=False)
    for row, index in enumerate(images.indices):
        axes[row, 0].imshow(images.pixels[row])
        axes[row, 0].set_ylabel(f"image {index}", fontsize=8, color="grey")
        _say(axes[row, 0], _cut(images.classes[images.labels[row]], 20), "black")
        for axis, run in zip(axes[row, 1:], runs, strict=True):
            _overlay(axis, images, run, row)
    for axis, title in zip(axes[0], ("true class", *[run.name for run in runs]), strict=True):
        lines = textwrap.wrap(title.replace(",", ", "), 24)
        axis.set_title("\n".join(lines), fontsize=8, parse_math=False)
    scale = figure.colorbar(
        ScalarMappable(cmap=COLORS), ax=axes, ticks=[0, 1], aspect=25 * rows, pad=0.06 / columns
    )
    scale.set_label("share of the map's maximum", fontsize=8, labelpad=-4)
    scale.ax.tick_params(labelsize=8, length=0)
    figure.savefig(path, format="png", bbox_inches="tight", pad_inches=0.08)


def _overlay(axis: Axes, images: Pictured, run: Seen, row: int) -> None:
    axis.imshow(images.pixels[row] @ np.array(GREY), cmap="gray", vmin=0, vmax=255)
    axis.imshow(run.heat[row], cmap=COLORS, vmin=0, vmax=1, alpha=0.6, interpolation="bilinear")
    guess = run.guesses[row]
    mark, color = ("✓", RIGHT) if guess == images.labels[row] else ("✗", WRONG)
    _say(axis, f"{mark} {_cut(images.classes[guess], 14)}, {100 * run.probs[row]:.0f} %", color)


def apart(paths: Sequence[str | Path]) -> list[str]:
    """Short names for directories: the folders on the way that not all of them have.

    Where there is no difference, as with a single one, the last four.
    """
    parts = [Path(os.path.abspath(path)).parts for path in paths]
    shared = set.intersection(*map(set, parts))
    return [" ".join(p for p in own if p not in shared) or " ".join(own[-4:]) for own in parts]


def _say(axis: Axes, text: str, color: str) -> None:
    axis.set(xticks=[], yticks=[])
    axis.set_xlabel(text, fontsize=8, color=color, labelpad=2, parse_math=False)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
