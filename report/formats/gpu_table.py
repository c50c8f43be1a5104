"""Five lines on the speed of a GPU, from one measurement of `scripts/speed.py what=loop`."""

import statistics
from collections.abc import Callable

from report.formats.text import render
from report.speed import Ratio, Speed, SpeedRow, numbers

Cell = Callable[[Speed, list[SpeedRow]], str]


def five_lines(speed: Speed) -> str:
    """Markdown: one column for each network. `speed` needs rows with graph=true and graph=false."""
    models = list(dict.fromkeys(row.chosen["model"] for row in speed.rows))
    of_model = [[row for row in speed.rows if row.chosen["model"] == model] for model in models]
    cells = [[title, *(cell(speed, rows) for rows in of_model)] for title, cell in LINES.items()]
    about = (
        "batch {batch_size}, {machine}, torch {torch}, {revision}; the median of {rounds} rounds"
    ).format(**speed.setting)
    return f"{render(['', *models], cells)}\n\n{about}\n"


def launch_share(speed: Speed, without: SpeedRow, graph: SpeedRow) -> Ratio:
    """The share of a step without a graph that a graph saves: the GPU waits for the host."""
    saved = [a - b for a, b in zip(*(speed.train[r.name] for r in (without, graph)), strict=True)]
    return Ratio.of(saved, speed.train[without.name])


def _graph(rows: list[SpeedRow], wanted: str = "true") -> list[SpeedRow]:
    return [row for row in rows if row.chosen["graph"] == wanted]


def _plain(speed: Speed, rows: list[SpeedRow], key: str, form: str) -> str:
    """One number of the network without attention, by graph."""
    row = next(row for row in _graph(rows) if row.chosen["attn"] == "none")
    return format(numbers(speed, row)[key], form)


def _attention(speed: Speed, rows: list[SpeedRow]) -> str:
    with_attention = [row for row in _graph(rows) if row.plain in speed.train]
    ratios = {row.chosen["attn"]: numbers(speed, row)["train_over_plain"] for row in with_attention}
    return ", ".join(f"{attn} {ratio.median:.3f}" for attn, ratio in ratios.items())


def _launch(speed: Speed, rows: list[SpeedRow]) -> str:
    pairs = zip(_graph(rows, "false"), _graph(rows), strict=True)
    shares = [launch_share(speed, *pair).median for pair in pairs]
    return f"{statistics.median(shares):.2f}"


LINES: dict[str, Cell] = {
    "images/s": lambda speed, rows: _plain(speed, rows, "train_images_per_second", ",.0f"),
    "attention ÷ plain": _attention,
    "share of a step that is launch": _launch,
    "epoch beside its steps, s": lambda s, rows: _plain(s, rows, "epoch_beside_seconds", ".4f"),
    "time ÷ arithmetic": lambda s, rows: _plain(s, rows, "train_over_arithmetic", ".2f"),
}
