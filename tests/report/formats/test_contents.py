"""Each file of a table holds the numbers, and the plots show each number in its place."""

import csv

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from report.formats.plots import cost, forest, learning
from report.formats.write import write
from report.records import collect
from report.table import Table, judged, of_records

TOP1 = {"none": (90.0, 91.0, 92.0), "se": (92.0, 93.1, 93.9), "nam": (91.0, 90.5, 92.4)}
MACS = {"none": 2_000_000, "se": 2_200_000, "nam": 2_500_000}


def epochs(name, seed):
    """The log of a run; each attention, seed and epoch has another value."""
    last = TOP1[name][seed]
    return (last - 30 - seed, last - 10 + 2 * seed, last)


@pytest.fixture
def table(new_run, new_record):
    for name, values in TOP1.items():
        for seed, value in enumerate(values):
            record = new_record(name, seed, value, epochs=3, macs=MACS[name])
            folder = new_run(f"runs/{name}/seed{seed}", record, epochs(name, seed))
    return Table("A title", judged(of_records(collect(folder.parents[1]).records)))


def test_every_text_holds_every_row_with_its_numbers(table, tmp_path):
    write(table, tmp_path / "out", "the command")
    texts = {name: (tmp_path / "out" / name).read_text() for name in ("index.html", "table.md")}
    texts["table.tex"] = (tmp_path / "out/table.tex").read_text().replace(r"$\pm$", "±")
    for name, text in texts.items():
        for cell in ("91.00 ± 1.00", "93.00 ± 0.95", "91.30 ± 0.98", "+2.00 [+0.77, +3.23]"):
            assert cell in text, f"{name} lacks {cell}"
    assert "the command" in texts["index.html"]
    lines = list(csv.DictReader((tmp_path / "out/table.csv").read_text().splitlines()))
    assert {line["attn"]: float(line["top1_mean"]) for line in lines} == pytest.approx(
        {name: np.mean(values) for name, values in TOP1.items()}
    )


def test_every_plot_is_there_as_a_picture_in_two_formats(table, tmp_path):
    write(table, tmp_path, "the command")
    for name in ("forest", "cost", "curves"):
        assert "</svg>" in (tmp_path / f"{name}.svg").read_text()
        assert (tmp_path / f"{name}.pdf").read_bytes().startswith(b"%PDF")


def test_tensorboard_has_the_mean_of_every_row_at_every_epoch(table, tmp_path):
    write(table, tmp_path, "the command")
    for name in TOP1:
        board = EventAccumulator(str(tmp_path / "board" / name / "mean")).Reload()
        points = [(event.step, event.value) for event in board.Scalars("test/top1")]
        expected = np.mean([epochs(name, seed) for seed in range(3)], axis=0)
        assert points == [(i, pytest.approx(v)) for i, v in enumerate(expected, 1)]


def test_the_forest_shows_the_mean_and_the_interval_of_every_row(table):
    (comparison,) = table.comparisons
    (axis,) = forest([comparison]).axes
    rows = [comparison.row(name) for name in ("nam", "se")]  # from bottom to top
    lines = [line for line in axis.lines if list(line.get_ydata()) != [0, 1]]  # without the axis
    expected = []
    for y, row in enumerate(rows):
        found = row.difference
        expected += [([found.low, found.high], [y, y]), ([found.mean], [y])]
    drawn = [(list(line.get_xdata()), list(line.get_ydata())) for line in lines]
    assert drawn == expected
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["nam (n=3)", "se (n=3)"]


def test_the_cost_is_drawn_against_the_gain_of_every_row(table):
    (comparison,) = table.comparisons
    (axis,) = cost([comparison]).axes
    named = {text.get_text() for text in axis.texts if text.get_text()}
    expected = {"none": (1, 0)}
    for name in ("se", "nam"):
        expected[name] = (MACS[name] / MACS["none"], comparison.row(name).difference.mean)
    assert named == set(expected)
    for container, name in zip(axis.containers, ("se", "nam"), strict=True):
        point, _, (bar,) = container
        found = comparison.row(name).difference
        assert (point.get_xdata()[0], point.get_ydata()[0]) == pytest.approx(expected[name])
        ((low, high),) = [segment[:, 1] for segment in bar.get_segments()]
        assert (low, high) == pytest.approx((found.low, found.high))


def test_curves_show_the_mean_and_the_deviation_of_every_row_at_every_epoch(table):
    (axis,) = learning(table.comparisons).axes
    assert [line.get_label() for line in axis.lines] == ["none", "se", "nam"]
    for line, band in zip(axis.lines, axis.collections, strict=True):
        runs = np.array([epochs(line.get_label(), seed) for seed in range(3)])
        assert list(line.get_xdata()) == [1, 2, 3]
        assert list(line.get_ydata()) == pytest.approx(runs.mean(0))
        heights = band.get_paths()[0].vertices[:, 1]
        low, high = runs.mean(0) - runs.std(0, ddof=1), runs.mean(0) + runs.std(0, ddof=1)
        assert all(np.isclose(heights, value).any() for value in [*low, *high])
