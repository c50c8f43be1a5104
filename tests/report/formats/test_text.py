import csv
import io

import pytest

from report.formats.text import markdown, render, spreadsheet
from report.table import Comparison, Table, TableRow


def speed(ratio, rate):
    return {
        "images_per_second": rate, "time_ratio": ratio, "time_ratio_min": ratio - 0.05,
        "time_ratio_max": ratio + 0.05,
    }  # fmt: skip


MEASURED = {
    "train": speed(1.25, 80.0), "infer": speed(1.5, 300.0), "memory_ratio": 1.1, "batch_size": 32,
    "rounds": 5, "device": "cpu",
}  # fmt: skip


def test_every_table_is_aligned_markdown(compared):
    lines = [line for line in markdown(Table("t", compared)).splitlines() if line[:1] == "|"]
    assert len({len(line) for line in lines[:5]}) == 1
    assert set(lines[1]) == {"|", "-", " "}


def test_mean_spread_difference_and_verdict_are_shown(compared):
    se = next(
        line for line in markdown(Table("t", compared)).splitlines() if line.startswith("| se ")
    )
    cells = [cell.strip() for cell in se.split("|")[1:-1]]
    assert cells == [
        "se", "+2.00 [+0.77, +3.23]", "gain", "0.010", "93.00 ± 0.95", "3", "±1.23", "93.25 ± 0.95",
        "+0.25",
    ]  # fmt: skip


def test_one_run_has_no_plus_minus(new_record):
    row = TableRow("none", [new_record()])
    assert "±" not in markdown(Table("t", [Comparison("c", "d", "m", [row])])).split("\n\n", 3)[3]


def test_a_row_without_runs_is_shown_as_missing(new_record):
    rows = [TableRow("none", [new_record()]), TableRow("se")]
    assert "| se   | missing " in markdown(Table("t", [Comparison("c", "d", "m", rows)]))


def test_measured_costs_are_relative_to_the_baseline(new_record):
    rows = [
        TableRow("none", [new_record()]),
        TableRow("se", [new_record(params=1100)], cost=MEASURED),
    ]
    text = markdown(Table("t", [Comparison("c", "d", "m", rows)]))
    assert "| 1,100  | +10.00 | 2.5 M | +0.00 | 1.25× [1.20, 1.30] | 1.50× [1.45, 1.55] |" in text


def test_csv_has_a_line_for_each_row_and_numbers_in_full(compared):
    lines = list(csv.DictReader(io.StringIO(spreadsheet(Table("t", compared)))))
    assert [line["attn"] for line in lines] == ["none", "se", "nam"]
    assert float(lines[1]["p"]) == compared[0].row("se").difference.p
    assert float(lines[1]["difference"]) == pytest.approx(2, abs=1e-12)
    assert lines[0]["seeds"] == "0 1 2"
    assert lines[0]["difference"] == lines[0]["train_ratio"] == ""


def test_a_bar_in_a_cell_does_not_end_it():
    assert render(["a"], [["x|y"]]).splitlines()[2] == r"| x\|y |"
