"""Cells of a table: our values beside values published in every possible form."""

from dataclasses import replace

import pytest

from report.cells import accuracy, beside, blocks, cost, elsewhere, spread
from report.published import published
from report.table import Comparison, TableRow, judged, of_records, with_published

FIRST = {
    "source": "Somebody (2020), Table 1.",
    "url": "https://example.org/a",
    "protocol": "best epoch on the test set",
    "evidence": "seen",
    "data": "digits",
    "note": "mean of 5",
    "values": {
        "resnet20": {"none": [89.5], "se": [95.25, 99.0]},
        "resnet56": {"se": [97.0]},
    },
    "cost": {"resnet20": {"none": ["0.27M"], "se": ["0.28M", "41M"]}},
}
SECOND = {
    "source": "Somebody else (2021)",
    "url": "https://example.org/b",
    "protocol": "last epoch",
    "evidence": "recalled",
    "data": "digits",
    "values": {"resnet20": {"se": [92.5], "eca": [93.0]}},
}
OTHER_DATA = SECOND | {"source": "On other images", "data": "cifar10"}


@pytest.fixture
def table(new_record):
    """Our runs: none has three seeds, se shares two of them and has another, eca has no run."""
    runs = [new_record(seed=seed, top1=90.0 + seed) for seed in range(3)]
    runs += [new_record("se", seed, 92.0 + seed) for seed in (1, 2, 5)]
    (comparison,) = judged(of_records(runs))
    planned = replace(comparison, rows=[*comparison.rows, TableRow("eca")])
    return with_published([planned], published([FIRST, SECOND, OTHER_DATA]))


def test_each_published_value_stands_beside_ours_with_the_gap_and_its_source(table):
    (comparison,), _ = table
    block = beside(comparison)
    assert block.header == (
        "attn", "published %", "ours %", "gap", "as printed", "evidence", "source",
    )  # fmt: skip
    assert block.rows == [
        ("none", "89.50", "91.00 ± 1.00", "+1.50", "0.27M", "seen", "[1]"),
        ("se", "95.25", "94.67 ± 2.08", "-0.58", "0.28M, 41M", "seen", "[1]"),
        ("se", "92.50", "94.67 ± 2.08", "+2.17", "", "recalled", "[2]"),
        ("eca", "93.00", "", "", "", "recalled", "[2]"),
    ]
    assert block.notes == [
        "[1] Somebody (2020), Table 1. best epoch on the test set. mean of 5. https://example.org/a",
        "[2] Somebody else (2021). last epoch. https://example.org/b",
    ]


def test_a_value_published_for_other_images_or_another_network_stands_apart(table):
    (comparison,), others = table
    assert [row.name for row in comparison.rows for _ in row.published] == [
        "none", "se", "se", "eca",
    ]  # fmt: skip
    block = elsewhere(others)
    assert block.rows == [
        ("digits", "resnet56", "se", "97.00", "", "seen", "[1]"),
        ("cifar10", "resnet20", "se", "92.50", "", "recalled", "[2]"),
        ("cifar10", "resnet20", "eca", "93.00", "", "recalled", "[2]"),
    ]
    assert block.notes[1] == "[2] On other images. last epoch. https://example.org/b"


def test_accuracy_is_of_the_last_epoch_and_says_how_many_pairs_there_are(table):
    (comparison,), _ = table
    none, se, eca = accuracy(comparison).rows
    assert none == ("none", "", "", "", "91.00 ± 1.00", "3", "", "91.25 ± 1.00", "+0.25")
    assert se[:2] == ("se", "+2.00 (n=2)"), "of three runs two have a partner"
    assert se[2:] == ("not resolved", "", "94.67 ± 2.08", "3", "", "94.92 ± 2.08", "+0.25")
    assert eca == ("eca", "missing", "", "", "", "0", "", "", "")


def test_pairs_are_not_counted_where_every_run_has_a_partner(compared):
    (comparison,) = compared
    cells = {row[0]: row[1] for row in accuracy(comparison).rows}
    assert cells == {"none": "", "se": "+2.00 [+0.77, +3.23]", "nam": "+0.30 [-0.93, +1.53]"}


def test_blocks_without_a_row_are_left_out(table, compared):
    assert [block.heading[:9] for block in blocks(table[0][0])] == [
        "Test top-", "Cost", "Published",
    ]  # fmt: skip
    assert [block.heading[:9] for block in blocks(compared[0])] == ["Test top-", "Cost"]


@pytest.mark.parametrize(("longest", "shown"), [(1.9, "1.20× [1.00, 1.90]"), (6.8, "not measured")])
def test_times_of_a_busy_machine_are_not_shown(new_record, longest, shown):
    speed = {"time_ratio": 1.2, "time_ratio_min": 1.0, "time_ratio_max": longest}
    measured = {
        "train": speed, "infer": speed, "memory_ratio": 1.0, "device": "cpu", "batch_size": 32,
        "rounds": 3,
    }  # fmt: skip
    rows = [TableRow("none", [new_record()]), TableRow("se", [new_record("se")], cost=measured)]
    block = cost(Comparison("c", "d", "m", rows))
    assert block.rows[1][5:7] == (shown, shown)
    assert block.notes == (
        ["not measured: the machine was busy; cost=true measures again"] if longest > 3 else []
    )


def test_the_spread_is_shown_where_the_table_asks(table):
    (comparison,), _ = table
    assert spread(comparison).rows == []
    shown = spread(replace(comparison, show_spread=True)).rows
    assert shown[0] == ("none", "1.00 [0.52, 6.28]", "3")  # chi-square, 2: 7.378 and 0.0506
    assert [row[0] for row in shown] == ["none", "se"]
