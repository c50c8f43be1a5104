"""Rows -> cells of text, the same in every output format."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from report.published import PublishedValue
from report.stats import std_interval
from report.table import Comparison, Spread, TableRow

Cells = list[tuple[str, ...]]
MEASURE_AGAIN = "not measured: the machine was busy; cost=true measures again"
BUSY = 3.0  # largest time ratio divided by the smallest, above which the machine was busy


@dataclass(frozen=True)
class TableBlock:
    """A part of a comparison that fits a page: a heading, the heads of its columns, the cells."""

    heading: str
    header: tuple[str, ...]
    rows: Cells
    notes: Sequence[str] = ()


def blocks(comparison: Comparison) -> list[TableBlock]:
    """The blocks of accuracy, spread, cost and published values, without empty ones."""
    every = (accuracy(comparison), spread(comparison), cost(comparison), beside(comparison))
    return [block for block in every if block.rows]


def accuracy(comparison: Comparison) -> TableBlock:
    """Top-1 after the last epoch, and the difference to the baseline."""
    vs = f"vs {comparison.baseline} [95 % CI]"
    header = (
        "attn", vs, "verdict", "p", "top-1 %", "n", "resolvable", "best epoch", "selection",
    )  # fmt: skip
    rows = [_accuracy(row) for row in comparison.rows]
    if not any(row.n for row in comparison.rows):
        rows = []
    images = {"test": "Test top-1", "val": "Top-1 of the held-out images"}[comparison.measured]
    return TableBlock(f"{images} after the last epoch, mean ± std over n seeds", header, rows)


def spread(comparison: Comparison) -> TableBlock:
    """The standard deviation of each row with its interval, if the comparison shows the spread."""
    header = ("attn", "std of top-1 [95 % CI]", "n")
    shown = [row for row in comparison.rows if comparison.show_spread and row.n > 1]
    return TableBlock(
        "Spread of top-1 over the seeds, in points", header, list(map(_spread, shown))
    )


def _spread(row: TableRow) -> tuple[str, ...]:
    _, std = row.spread("top1")
    low, high = std_interval(std, row.n)
    return row.name, f"{std:.2f} [{low:.2f}, {high:.2f}]", str(row.n)


def cost(comparison: Comparison) -> TableBlock:
    """Counted cost, and measured cost if there is one, relative to the baseline."""
    baseline = comparison.row(comparison.baseline)
    header = ("attn", "params", "+ %", "MACs", "+ %", "train time", "infer time", "memory")
    rows = [_cost(row, baseline) for row in comparison.rows if row.n]
    measured = next((row.cost for row in comparison.rows if row.cost), None)
    if measured is None:
        return TableBlock("Cost", header[:5], [row[:5] for row in rows])
    setting = f"{measured['device']}, batch {measured['batch_size']}, {measured['rounds']} rounds"
    heading = f"Cost; time and memory relative to {comparison.baseline}, median [range] ({setting})"
    busy = any("not measured" in row for row in rows)
    return TableBlock(heading, header, rows, [MEASURE_AGAIN] if busy else [])


def beside(comparison: Comparison) -> TableBlock:
    """Each published value beside ours, with the gap."""
    header = ("attn", "published %", "ours %", "gap", "as printed", "evidence", "source")
    values = [(row, value) for row in comparison.rows for value in row.published]
    sources = list(dict.fromkeys(citation(value) for _, value in values))
    rows = [
        _beside(row, value, 1 + sources.index(citation(value)), comparison.changed)
        for row, value in values
    ]
    notes = [f"[{i}] {source}" for i, source in enumerate(sources, 1)]
    return TableBlock("Published beside ours, top-1 %", header, rows, notes)


def citation(value: PublishedValue) -> str:
    """The source of a published value, its protocol, and its address."""
    parts = [value.source, value.protocol, value.note, value.url]
    return ". ".join(part.rstrip(".") for part in parts if part)


def elsewhere(values: Sequence[PublishedValue]) -> TableBlock:
    """Published values of networks that the table does not run."""
    header = ("data", "model", "attn", "published %", "as printed", "evidence", "source")
    sources = list(dict.fromkeys(map(citation, values)))
    rows = [
        (v.data, v.model, v.row, f"{v.top1:.2f}", _printed(v), v.evidence,
         f"[{1 + sources.index(citation(v))}]")
        for v in values
    ]  # fmt: skip
    notes = [f"[{i}] {source}" for i, source in enumerate(sources, 1)]
    return TableBlock("Published, not run here", header, rows, notes)


def plus_minus(spread: Spread | None, n: int) -> str:
    """Mean ± standard deviation over n runs; two runs do not tell a deviation."""
    if spread is None:
        return ""
    mean, deviation = spread
    return f"{mean:.2f}" + (f" ± {deviation:.2f}" if n > 2 else "")


def _accuracy(row: TableRow) -> tuple[str, ...]:
    if not row.n:
        return (row.name, "missing", "", "", "", "0", "", "", "")
    found, best = row.difference, row.spread("best_top1")
    return (
        row.name,
        _interval(row),
        row.verdict,
        _number(found and found.p, _p_value),
        plus_minus(row.spread("top1"), row.n),
        str(row.n),
        _number(found and found.resolvable, lambda value: f"±{value:.2f}"),
        plus_minus(best, row.n),
        _number(row.selection, "{:+.2f}".format),
    )


def _interval(row: TableRow) -> str:
    found = row.difference
    if found is None:
        return ""
    mean = f"{found.mean:+.2f}" + (f" (n={found.n})" if found.n != row.n else "")
    return mean if found.low is None else f"{mean} [{found.low:+.2f}, {found.high:+.2f}]"


def _p_value(p: float) -> str:
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def _number(value: float | None, form: Callable[[float], str]) -> str:
    return "" if value is None else form(value)


def _cost(row: TableRow, baseline: TableRow | None) -> tuple[str, ...]:
    own = row.records[0]
    base = baseline.records[0] if baseline and baseline.n and row is not baseline else None
    counted = [
        f"{own['params']:,}",
        _percent(own["params"], base and base["params"]),
        f"{own['macs'] / 1e6:,.1f} M",
        _percent(own["macs"], base and base["macs"]),
    ]
    if row.cost is None:
        return (row.name, *counted, "", "", "")
    times = [_time(row.cost[key]) for key in ("train", "infer")]
    return (row.name, *counted, *times, f"{row.cost['memory_ratio']:.2f}×")


def is_noise(speed: Mapping[str, float]) -> bool:
    """Whether the rounds differ so much that other work must have run on the machine."""
    return speed["time_ratio_max"] > BUSY * speed["time_ratio_min"]


def _time(speed: Mapping[str, float]) -> str:
    if is_noise(speed):
        return "not measured"
    median, low, high = (speed[f"time_ratio{end}"] for end in ("", "_min", "_max"))
    return f"{median:.2f}× [{low:.2f}, {high:.2f}]"


def _percent(value: float, base: float | None) -> str:
    return f"{100 * (value / base - 1):+.2f}" if base else ""


def _beside(row: TableRow, value: PublishedValue, source: int, changed: str) -> tuple[str, ...]:
    """The gap compares runs of the table's own protocol alone."""
    ours = row.spread("top1")
    gap = f"{ours[0] - value.top1:+.2f}" if ours else ""
    gap = f"other protocol: {changed}" if ours and changed else gap
    return (
        row.name, f"{value.top1:.2f}", plus_minus(ours, row.n), gap, _printed(value),
        value.evidence, f"[{source}]",
    )  # fmt: skip


def _printed(value: PublishedValue) -> str:
    return ", ".join(part for part in (value.params, value.macs) if part)
