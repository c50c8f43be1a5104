import pytest

from report.formats.plots import cost, draw, forest, learning, svg
from report.table import Table


def test_each_plot_is_drawn_twice_and_the_same_each_time(compared, tmp_path):
    names = ["cost", "curves", "forest"]
    first = {p.name: p.read_bytes() for p in draw(Table("t", compared), tmp_path)}
    assert sorted(first) == sorted(f"{name}.{end}" for name in names for end in ("svg", "pdf"))
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
