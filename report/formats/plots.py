"""Pictures of a table: where each difference lies, what it costs, how training went."""

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from report.cells import is_noise
from report.curves import curves
from report.table import Comparison, Table, TableRow

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
    """forest, cost and curves as .svg and .pdf in `folder`; those without data are not drawn."""
    written = []
    for name, plot, fits in PLOTS:
        if shown := [c for c in table.comparisons if fits(c)]:
            written += save(plot(shown), folder / name)
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
        axis.set_yticks(range(len(rows)), [f"{row.name} (n={row.difference.n})" for row in rows])
        axis.set_ylim(-0.7, len(rows) - 0.3)
        axis.set_xlabel(f"points of top-1 against {comparison.baseline}, 95 % interval")
    return figure


@matplotlib.rc_context(RC)
def cost(comparisons: Sequence[Comparison]) -> Figure:
    """Gain against cost: measured training time where there is one, MACs otherwise."""
    figure, axes = _panels(comparisons, [3.6] * len(comparisons))
    for axis, comparison in zip(axes, comparisons, strict=True):
        measured = all(_is_measured(row) for row in _differing(comparison))
        place = _time if measured else _macs(comparison)
        axis.axhline(0, color="black", linewidth=0.8)
        axis.plot(1, 0, "o", color="black")
        axis.annotate(comparison.baseline, (1, 0), (5, 4), textcoords="offset points", size=9)
        for row in _differing(comparison):
            found, x = row.difference, place(row)
            half = found.high - found.mean if found.high is not None else 0
            color = VERDICT_COLORS[row.verdict]
            axis.errorbar(x, found.mean, half, fmt="o", color=color, capsize=2, linewidth=1)
            axis.annotate(row.name, (x, found.mean), (5, 4), textcoords="offset points", size=9)
        what = "training time" if measured else "MACs"
        axis.set_xlabel(f"{what} relative to {comparison.baseline}")
        axis.set_ylabel("points of top-1")
        axis.margins(x=0.15)
    return figure


@matplotlib.rc_context(RC)
def learning(comparisons: Sequence[Comparison]) -> Figure:
    """Test accuracy over the epochs, mean over the seeds in a band of one deviation."""
    figure, axes = _panels(comparisons, [3.6] * len(comparisons))
    for axis, comparison in zip(axes, comparisons, strict=True):
        colors = matplotlib.colormaps["tab10" if len(comparison.rows) <= 10 else "tab20"].colors
        for i, row in enumerate(row for row in comparison.rows if row.n):
            curve = curves([record["path"] for record in row.records], "test.top1")
            color, dashes = colors[i % len(colors)], "-" if i < len(colors) else "--"
            marker = "o" if len(curve.epochs) == 1 else None
            axis.plot(curve.epochs, curve.mean, dashes, color=color, label=row.name, marker=marker)
            band = np.nan_to_num(curve.std)
            low, high = curve.mean - band, curve.mean + band
            axis.fill_between(curve.epochs, low, high, color=color, alpha=0.15, linewidth=0)
        axis.set_xlabel("epoch")
        axis.set_ylabel("test top-1 %")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.legend(frameon=False, fontsize=8, ncols=1 + len(comparison.rows) // 9)
    return figure


@matplotlib.rc_context(RC)
def svg(figure: Figure) -> str:
    """The picture as text to be put into a page."""
    out = io.StringIO()
    figure.savefig(out, format="svg", bbox_inches="tight", metadata={"Date": None})
    return out.getvalue()


def save(figure: Figure, path: Path) -> list[Path]:
    """`path` with .svg and with .pdf, in this order."""
    path.with_suffix(".svg").write_text(svg(figure), encoding="utf-8")
    figure.savefig(path.with_suffix(".pdf"), bbox_inches="tight", metadata={"CreationDate": None})
    return [path.with_suffix(".svg"), path.with_suffix(".pdf")]


def _panels(
    comparisons: Sequence[Comparison], heights: Sequence[float], share: bool = False
) -> tuple[Figure, list[Axes]]:
    """One panel below the other, each under the title of its comparison if there are several."""
    figure = Figure(figsize=(6.4, sum(heights) + 0.4), layout="constrained")
    axes = figure.subplots(len(comparisons), 1, squeeze=False, sharex=share, height_ratios=heights)[
        :, 0
    ]
    if len(comparisons) > 1:
        for axis, comparison in zip(axes, comparisons, strict=True):
            axis.set_title(comparison.title)
    return figure, list(axes)


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
