"""Measurements of `scripts/speed.py` as Markdown tables and as a bar plot."""

import statistics
from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from report.formats.plots import RC, save
from report.formats.text import render
from report.speed import OPERATIONS, Ratio, Speed, SpeedRow, in_json, numbers, spreadsheet
from report.writing import write_text

TITLES = {
    "networks": ("Training", "Inference"),
    "modules": ("Attention alone, forward and backward", "Attention alone, forward"),
    "loop": ("An epoch of training", "Evaluation"),
}
SHOWN = ("model", "precision", "mode", "attn")  # options shown even if all rows share one value


def markdown(speed: Speed) -> str:
    """Tables of training, inference and lower bounds, with notes on how they were measured."""
    training, inference = TITLES[speed.setting["what"]]
    faster = f"× as fast as {speed.setting['against']} fp32"
    pace = (("images/s", "images_per_second", ",.1f"), ("time ÷ none", "over_plain", ".3f"),
            (faster, "speedup", ".2f"), ("time ÷ plain loop", "over_loop", ".3f"))  # fmt: skip
    memory = (("memory MiB", "memory_mb", ",.0f"), ("÷ none", "memory_ratio", ".3f"))
    floors = (("time ÷ convolutions", "train_over_convolutions", ".2f"),
              ("÷ arithmetic", "train_over_arithmetic", ".2f"), ("GFLOP/s", "train_gflops", ",.0f"),
              ("loader ÷ step", "train_loader_share", ".4f"))  # fmt: skip
    beside = (("beside its steps, s", "epoch_beside_seconds", ".4f"),
              ("a checkpoint, in a thread, s", "checkpoint_seconds", ".3f"))  # fmt: skip
    train, infer = ([(h, f"{kind}_{key}", form) for h, key, form in pace] for kind in OPERATIONS)
    parts = [
        _table(speed, training, [*train, *memory]),
        _table(speed, inference, infer),
        _table(speed, "An epoch", beside),
        _table(speed, f"{training}, against its lower bounds", floors),
        "\n".join(f"- {note}" for note in notes(speed)),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def notes(speed: Speed) -> list[str]:
    """How the rows were measured, and measurements that belong to no row."""
    lines = [
        "median [range] over {rounds} rounds of {steps} steps, batch {batch_size}, interleaved; "
        "{machine}, torch {torch}, {revision}".format(**speed.setting)
    ]
    for name in dict.fromkeys(row.arithmetic for row in speed.rows if row.arithmetic):
        rate = OPERATIONS["train"] / statistics.median(speed.train[name]) / 1e9
        lines.append(f"{name}: {rate:,.0f} GFLOP/s, the rate used for ÷ arithmetic")
    for ours, usual in speed.loaders.items():
        own, other = ([1e6 * t for t in speed.train[name]] for name in (ours, usual))
        lines.append(
            f"{ours}, augmented: {statistics.median(own):.1f} µs per image; with PIL in a worker: "
            f"{statistics.median(other):.1f} µs, {Ratio.of(other, own):.1f} times as long"
        )
    return lines


@matplotlib.rc_context(RC)
def bars(speed: Speed) -> Figure | None:
    """Training time relative to none, one panel per network.

    Without a row `none`: speedup against the reference, or time against the plain PyTorch loop.
    Without any of these: None.
    """
    labels = {
        "train_over_plain": "training time ÷ none",
        "train_speedup": f"× as fast as {speed.setting['against']} fp32",
        "train_over_loop": "training time ÷ plain loop",
    }
    for key, label in labels.items():
        rows = [row for row in speed.rows if numbers(speed, row)[key]]
        if rows:
            return _panels(speed, rows, key, label)
    return None


def write(speed: Speed, folder: Path) -> list[Path]:
    """Write speed.md, speed.csv, speed.json and the plot as .svg and .pdf; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"md": markdown(speed), "csv": spreadsheet(speed), "json": in_json(speed)}
    for end, text in texts.items():
        write_text(folder / f"speed.{end}", text)
    figure = bars(speed)
    plots = save(figure, folder / "speed") if figure else []
    return [folder / f"speed.{end}" for end in texts] + plots


def _table(speed: Speed, title: str, columns: Sequence[tuple[str, str, str]]) -> str:
    """Markdown table of the measured columns; empty if no column was measured."""
    found = [numbers(speed, row) for row in speed.rows]
    columns = [column for column in columns if any(of[column[1]] is not None for of in found)]
    keys = _keys(speed)
    cells = [
        [row.chosen[key] for key in keys]
        + ["" if of[key] is None else format(of[key], form) for _, key, form in columns]
        for row, of in zip(speed.rows, found, strict=True)
    ]
    header = [*keys, *(head for head, _, _ in columns)]
    return f"{title}:\n\n{render(header, cells)}" if columns else ""


def _keys(speed: Speed) -> list[str]:
    """Options that differ between rows, and the options always shown."""
    chosen = [row.chosen for row in speed.rows]
    return [key for key in chosen[0] if key in SHOWN or len({of[key] for of in chosen}) > 1]


def _panels(speed: Speed, rows: Sequence[SpeedRow], key: str, label: str) -> Figure:
    models = list(dict.fromkeys(row.chosen["model"] for row in rows))
    figure = Figure(figsize=(6.4, 3.2 * len(models) + 0.4), layout="constrained")
    panels = figure.subplots(len(models), 1, squeeze=False)[:, 0]
    for axis, model in zip(panels, models, strict=True):
        _bars(axis, speed, [row for row in rows if row.chosen["model"] == model], key)
        axis.set_title(model)
        axis.set_ylabel(label)
    return figure


def _bars(axis: Axes, speed: Speed, rows: Sequence[SpeedRow], key: str) -> None:
    """One group of bars per attention, one bar per combination of the other options."""
    others = [k for k in _keys(speed) if k not in ("model", "attn")]
    attns = list(dict.fromkeys(row.chosen["attn"] for row in rows))
    drawn: dict[str, dict[str, Ratio]] = {}
    for row in rows:
        setting = " ".join(row.chosen[k] for k in others)
        drawn.setdefault(setting, {})[row.chosen["attn"]] = numbers(speed, row)[key]
    width = 0.8 / len(drawn)
    for i, (setting, ratios) in enumerate(drawn.items()):
        at = [attns.index(attn) + (i + 0.5) * width - 0.4 for attn in ratios]
        medians = [ratio.median for ratio in ratios.values()]
        down = [ratio.median - ratio.low for ratio in ratios.values()]
        up = [ratio.high - ratio.median for ratio in ratios.values()]
        axis.bar(at, medians, 0.9 * width, yerr=[down, up], capsize=2, label=setting)
    axis.axhline(1, color="black", linewidth=0.8)
    axis.set_xticks(range(len(attns)), attns)
    axis.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
