"""Draw heat maps over images in one picture: one row per image, one column per run."""

import os
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.figure import Figure

from report.writing import replacing

CELL = 1.6  # side of one image, inches
COLORS = "inferno"  # perceptually uniform; dark where the heat is 0
RIGHT, WRONG = "#0072B2", "#B33C00"  # distinct for color-blind readers too
GREY = (0.299, 0.587, 0.114)  # luma of R, G and B, ITU-R BT.601


@dataclass(frozen=True)
class CamImages:
    """N images: `pixels` (N, H, W, 3) uint8, `labels` (N,), and their `indices` in the split."""

    pixels: np.ndarray
    labels: np.ndarray
    classes: Sequence[str]
    indices: Sequence[int]


@dataclass(frozen=True)
class CamColumn:
    """One run on N images: `heat` (N, H, W) in [0, 1], `guesses` (N,) and their `probs` (N,)."""

    name: str
    heat: np.ndarray
    guesses: np.ndarray
    probs: np.ndarray


def draw(path: Path, images: CamImages, runs: Sequence[CamColumn], heading: str) -> None:
    """Write the picture to `path` as a PNG."""
    rows, columns = len(images.pixels), 1 + len(runs)
    size = (CELL * columns + 0.8, (CELL + 0.2) * rows + 0.6)
    figure = Figure(size, dpi=120, layout="compressed")
    figure.get_layout_engine().set(w_pad=0.03, h_pad=0.03, wspace=0.02, hspace=0.02)
    figure.suptitle(heading, fontsize=9, parse_math=False)
    axes = figure.subplots(rows, columns, squeeze=False)
    for row, index in enumerate(images.indices):
        axes[row, 0].imshow(images.pixels[row])
        axes[row, 0].set_ylabel(f"image {index}", fontsize=8, color="grey")
        _label(axes[row, 0], shorten(images.classes[images.labels[row]], 20), "black")
        for axis, run in zip(axes[row, 1:], runs, strict=True):
            _draw_heat(axis, images, run, row)
    for axis, title in zip(axes[0], ("true class", *[run.name for run in runs]), strict=True):
        lines = textwrap.wrap(title.replace(",", ", "), 24)
        axis.set_title("\n".join(lines), fontsize=8, parse_math=False)
    scale = figure.colorbar(
        ScalarMappable(cmap=COLORS), ax=axes, ticks=[0, 1], aspect=25 * rows, pad=0.06 / columns
    )
    scale.set_label("share of the map's maximum", fontsize=8, labelpad=-4)
    scale.ax.tick_params(labelsize=8, length=0)
    with replacing(path) as file:
        figure.savefig(file, format="png", bbox_inches="tight", pad_inches=0.08)


def _draw_heat(axis: Axes, images: CamImages, run: CamColumn, row: int) -> None:
    axis.imshow(images.pixels[row] @ np.array(GREY), cmap="gray", vmin=0, vmax=255)
    axis.imshow(run.heat[row], cmap=COLORS, vmin=0, vmax=1, alpha=0.6, interpolation="bilinear")
    guess = run.guesses[row]
    mark, color = ("✓", RIGHT) if guess == images.labels[row] else ("✗", WRONG)
    _label(
        axis, f"{mark} {shorten(images.classes[guess], 14)}, {100 * run.probs[row]:.0f} %", color
    )


def short_names(paths: Sequence[str | Path]) -> list[str]:
    """Short names for directories: the parts of each path that not all paths share.

    A path without such a part, such as a single path, is named by its last four parts.
    """
    parts = [Path(os.path.abspath(path)).parts for path in paths]
    shared = set.intersection(*map(set, parts))
    return [" ".join(p for p in own if p not in shared) or " ".join(own[-4:]) for own in parts]


def _label(axis: Axes, text: str, color: str) -> None:
    axis.set(xticks=[], yticks=[])
    axis.set_xlabel(text, fontsize=8, color=color, labelpad=2, parse_math=False)


def shorten(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
