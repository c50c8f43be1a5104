import io
import itertools

import pytest
from matplotlib.text import Text

from report.formats.plots import cost, draw, forest, learning, svg
from report.records import collect
from report.table import Table, judged, of_records


def test_each_plot_is_drawn_twice_and_the_same_each_time(compared, tmp_path):
    names = ["cost", "curves", "forest"]
    first = {p.name: p.read_bytes() for p in draw(Table("t", compared), tmp_path)}
    drawn = [f"{name}.{end}" for name in names for end in ("svg", "pdf")]
    assert sorted(first) == sorted([*drawn, "summary.png"])
    assert first == {p.name: p.read_bytes() for p in draw(Table("t", compared), tmp_path)}


def test_the_forest_shows_every_interval_in_its_place(compared):
    (axis,) = forest(compared).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["nam (n=3)", "se (n=3)"]
    se = compared[0].row("se").difference
    ends = [tuple(line.get_xdata()) for line in axis.lines]
    assert (se.low, se.high) in ends


def test_without_a_benchmark_the_cost_is_counted(compared):
    (axis,) = cost(compared).axes
    assert "MACs relative to none" in axis.get_xlabel()


def test_curves_are_means_over_the_seeds(compared):
    (axis,) = learning(compared).axes
    assert [line.get_label() for line in axis.lines] == ["none", "se", "nam"]
    assert list(axis.lines[0].get_ydata()) == [10.0, 20.0]


@pytest.mark.parametrize("plot", [forest, cost, learning])
def test_several_comparisons_are_several_panels(compared, plot):
    assert len(plot([*compared, *compared]).axes) == 2


def test_a_picture_is_text(compared):
    assert svg(forest(compared)).rstrip().endswith("</svg>")


def test_no_two_labels_overlap(new_run, new_record):
    """Eleven rows; most have nearly the same accuracy and cost."""
    for i in range(11):
        name = f"row{i}" if i else "none"
        for seed in range(3):
            top1 = 90 + 0.1 * i + 0.2 * seed
            record = new_record(name, seed, top1, macs=2_500_000 + 1000 * i)
            folder = new_run(f"runs/{name}/seed{seed}", record, (top1 - 5, top1))
    compared = judged(of_records(collect(folder.parents[1]).records))
    for plot in (cost, learning):
        figure = plot(compared)
        figure.savefig(io.BytesIO())  # the labels get their places when the figure is drawn
        texts = [text for text in figure.axes[0].texts if text.get_text()]
        boxes = [Text.get_window_extent(text) for text in texts]  # without the lines to points
        assert len(boxes) == 11
        pairs = itertools.combinations(boxes, 2)
        assert not any(_overlap(a, b) > 0.05 * a.width * a.height for a, b in pairs)


def _overlap(a, b):
    """The common area of two boxes, in pixels."""
    width = min(a.x1, b.x1) - max(a.x0, b.x0)
    height = min(a.y1, b.y1) - max(a.y0, b.y0)
    return max(0, width) * max(0, height)
