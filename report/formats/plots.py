"""Plots of a table: differences, costs, and curves of training."""

import io
import itertools
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from report.cells import is_noise
from report.curves import curves
from report.headline import headline
from report.table import Comparison, Table, TableRow
from report.writing import replacing, write_text

# Colours that colour-blind readers tell apart (Okabe and Ito, 2008); black is the baseline's.
COLORS = ("#E69F00", "#56B4E9", "#009E73", "#0072B2", "#D55E00", "#CC79A7", "#8C8C00")
DASHES = ("-", "--", ":", "-.")
LABEL_GAP = 0.045  # of the axis: the least distance of two labels
VERDICT_COLORS = {"gain": "#1b7837", "loss": "#b2182b", "not resolved": "#666666", "": "#666666"}
RC = {
    "svg.hashsalt": "attnbench",  # the same picture is the same file
    "svg.fonttype": "path",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
}


def draw(table: Table, folder: Path) -> list[Path]:
    """forest, cost and curves as .svg and .pdf, and summary.png, in `folder`, if there are data."""
    written = []
    for name, plot, fits in PLOTS:
        if shown := [c for c in table.comparisons if fits(c)]:
            written += save(plot(shown), folder / name)
    if slide := summary(table):
        written.append(folder / "summary.png")
        with replacing(written[-1]) as file:
            slide.savefig(file, format="png", dpi=200, metadata={"Software": None})
    return written


@matplotlib.rc_context(RC)
def forest(comparisons: Sequence[Comparison]) -> Figure:
    """The difference of each row with its 95 % interval, and zero."""
    heights = [len(_differing(c)) for c in comparisons]
    figure, axes = _panels(comparisons, [0.32 * h + 0.9 for h in heights], share=True)
    for axis, comparison in zip(axes, comparisons, strict=True):
        rows = _differing(comparison)[::-1]
        axis.axvline(0, color="black", linewidth=0.8)
        for y, row in enumerate(rows):
            _interval(axis, row, y)
        axis.set_yticks(
            range(len(rows)), [f"{_label(row.name)} (n={row.difference.n})" for row in rows]
        )
        axis.set_ylim(-0.7, len(rows) - 0.3)
        axis.set_xlabel(f"points of top-1 vs {_label(comparison.baseline)}, 95 % interval")
    return figure


@matplotlib.rc_context(RC)
def cost(comparisons: Sequence[Comparison]) -> Figure:
    """Difference against cost: training time if it was measured, else MACs."""
    figure, axes = _panels(comparisons, [3.6] * len(comparisons))
    for axis, comparison in zip(axes, comparisons, strict=True):
        measured = all(_is_measured(row) for row in _differing(comparison))
        place = _time if measured else _macs(comparison)
        axis.axhline(0, color="black", linewidth=0.8)
        axis.plot(1, 0, "o", color="black")
        points = [(1.0, 0.0, _label(comparison.baseline))]
        for row in _differing(comparison):
            found, x = row.difference, place(row)
            half = found.high - found.mean if found.high is not None else 0
            color = VERDICT_COLORS[row.verdict]
            axis.errorbar(x, found.mean, half, fmt="o", color=color, capsize=2, linewidth=1)
            points.append((x, found.mean, _label(row.name)))
        what = "training time" if measured else "MACs"
        axis.set_xlabel(f"{what} relative to {_label(comparison.baseline)}")
        axis.set_ylabel(f"points of top-1 vs {_label(comparison.baseline)}")
        axis.margins(x=0.15)
        low, high = axis.get_xlim()
        axis.set_xlim(min(low, 0.99), max(high, 1.01))  # a difference below 1 % is none
        axis.ticklabel_format(axis="x", useOffset=False)
        _label_points(axis, points)
    return figure


@matplotlib.rc_context(RC)
def learning(comparisons: Sequence[Comparison]) -> Figure:
    """Test accuracy over the epochs, mean over the seeds in a band of one deviation."""
    figure, axes = _panels(comparisons, [3.6] * len(comparisons))
    for axis, comparison in zip(axes, comparisons, strict=True):
        ends = []
        for row, style in _styles(comparison):
            curve = curves(
                [record["path"] for record in row.records], f"{comparison.measured}.top1"
            )
            marker = "o" if len(curve.epochs) == 1 else None
            axis.plot(curve.epochs, curve.mean, label=_label(row.name), marker=marker, **style)
            band = np.nan_to_num(curve.std)
            low, high = curve.mean - band, curve.mean + band
            color = style["color"]
            axis.fill_between(curve.epochs, low, high, color=color, alpha=0.1, linewidth=0)
            if len(curve.epochs):
                ends.append((curve.epochs[-1], curve.mean[-1], _label(row.name), color))
        axis.set_xlabel("epoch")
        axis.set_ylabel(f"{comparison.measured} top-1 %")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        _label_ends(axis, ends)
    return figure


@matplotlib.rc_context(RC)
def summary(table: Table) -> Figure | None:
    """One slide: the title, the finding in a sentence, the differences; None without rows."""
    shown = [comparison for comparison in table.comparisons if _differing(comparison)]
    if not shown:
        return None
    figure = forest(shown)
    sentences = [textwrap.fill(_label(headline(comparison), 600), 84) for comparison in shown]
    lines = sum(sentence.count("\n") + 1 for sentence in sentences)
    width, height = figure.get_size_inches()
    figure.set_size_inches(width + 2, height + 0.3 * lines + 0.6)
    figure.suptitle(
        "\n".join([_label(table.title, 72), "", *sentences]), x=0.02, ha="left", size=12
    )
    return figure


@matplotlib.rc_context(RC)
def svg(figure: Figure) -> str:
    """The plot as SVG text."""
    out = io.StringIO()
    figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
    return out.getvalue()


def save(figure: Figure, path: Path) -> list[Path]:
    """Write the plot as .svg and as .pdf; return both paths, in this order."""
    write_text(path.with_suffix(".svg"), svg(figure))
    with replacing(path.with_suffix(".pdf")) as file:
        figure.savefig(file, format="pdf", bbox_inches="tight", metadata={"CreationDate": None})
    return [path.with_suffix(".svg"), path.with_suffix(".pdf")]


def _panels(
    comparisons: Sequence[Comparison], heights: Sequence[float], share: bool = False
) -> tuple[Figure, list[Axes]]:
    """One panel for each comparison, one below the other; several panels have titles."""
    figure = Figure(figsize=(6.4, sum(heights) + 0.4), layout="constrained")
    axes = figure.subplots(len(comparisons), 1, squeeze=False, sharex=share, height_ratios=heights)[
        :, 0
    ]
    if len(comparisons) > 1:
        for axis, comparison in zip(axes, comparisons, strict=True):
            axis.set_title(_label(comparison.title, 72))
    return figure, list(axes)


def _label(text: str, longest: int = 24) -> str:
    """`text` for matplotlib: one line, no formula, at most `longest` characters."""
    line = "".join(c if c.isprintable() else " " for c in text)
    short = line if len(line) <= longest else f"{line[: longest - 3]}..."
    shown = f" {short}" if short.startswith("_") else short  # matplotlib hides a leading _
    return shown.replace("$", r"\$")


def _styles(comparison: Comparison) -> Iterator[tuple[TableRow, dict[str, Any]]]:
    """The rows with runs, and how their curves are drawn: the baseline black and thick."""
    others = itertools.product(DASHES, COLORS)
    for row in (row for row in comparison.rows if row.n):
        if row.name == comparison.baseline:
            yield row, {"color": "black", "linewidth": 2.5, "zorder": 3}
        else:
            dashes, color = next(others)
            yield row, {"color": color, "linestyle": dashes, "linewidth": 1.5}


def _label_points(axis: Axes, points: Sequence[tuple[float, float, str]]) -> None:
    """Names beside points, moved until no two of them overlap."""
    FigureCanvasAgg(axis.figure).draw()  # the places of texts are known once they are drawn
    texts = [axis.text(x, y, name, size=9) for x, y, name in points]
    x, y = [point[0] for point in points], [point[1] for point in points]
    lines = {"arrowstyle": "-", "color": "#888888", "linewidth": 0.6}
    adjust_text(texts, x, y, ax=axis, arrowprops=lines)


def _label_ends(axis: Axes, ends: Sequence[tuple[float, float, str, str]]) -> None:
    """Names at the ends of curves, from below, each LABEL_GAP above the one before at least."""
    low, high = axis.get_ylim()
    gap, place = LABEL_GAP * (high - low), -np.inf
    for x, y, name, color in sorted(ends, key=lambda end: end[1]):
        place = max(y, place + gap)
        lines = {"arrowstyle": "-", "color": color, "linewidth": 0.6}
        axis.annotate(
            name, (x, y), (1.04, place), ("data", "data"), ("axes fraction", "data"),
            size=9, color=color, va="center", arrowprops=lines,
        )  # fmt: skip


def _interval(axis: Axes, row: TableRow, y: int) -> None:
    found, color = row.difference, VERDICT_COLORS[row.verdict]
    if found.low is not None:
        axis.plot([found.low, found.high], [y, y], color=color, linewidth=1.5)
    filled = color if row.verdict in ("gain", "loss") else "white"
    axis.plot(found.mean, y, "o", color=color, markerfacecolor=filled)


def _differing(comparison: Comparison) -> list[TableRow]:
    return [row for row in comparison.rows if row.difference]


def _is_measured(row: TableRow) -> bool:
    return row.cost is not None and not is_noise(row.cost["train"])


def _time(row: TableRow) -> float:
    return row.cost["train"]["time_ratio"]


def _macs(comparison: Comparison) -> Callable[[TableRow], float]:
    base = comparison.row(comparison.baseline).records[0]["macs"]
    return lambda row: row.records[0]["macs"] / base


def _curved(comparison: Comparison) -> bool:
    """Whether there is more than one epoch to draw."""
    return any(record["epochs"] > 1 for row in comparison.rows for record in row.records)


PLOTS = (  # name, how it is drawn, which comparisons have what it needs
    ("curves", learning, _curved),
    ("forest", forest, _differing),
    ("cost", cost, _differing),
)
