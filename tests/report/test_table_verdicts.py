"""Verdicts use the last epoch and pairs of seeds, with one correction for all rows."""

import pytest

from report.table import judged, of_records


def records(new_record, attn, last, best, **changes):
    return [
        new_record(attn, seed, top1, best_top1=top, **changes)
        for seed, (top1, top) in enumerate(zip(last, best, strict=True))
    ]


@pytest.fixture
def comparison(new_record):
    """By the last epoch se gains and nam loses; by the best epoch se loses and nam gains."""
    runs = records(new_record, "none", (90.0, 91.0, 92.0), (93.0, 94.0, 95.0))
    runs += records(new_record, "nam", (88.0, 89.1, 89.9), (99.0, 99.9, 98.5))
    runs += records(new_record, "se", (92.0, 93.1, 93.9), (92.0, 93.1, 93.9))
    return judged(of_records(runs))[0]


def test_verdicts_are_of_the_last_epoch_not_of_the_best(comparison):
    se, nam = comparison.row("se"), comparison.row("nam")
    assert (se.difference.mean, nam.difference.mean) == pytest.approx((2.0, -2.0))
    assert (se.verdict, nam.verdict) == ("gain", "loss")


def test_rows_are_in_the_order_of_the_last_epoch(comparison):
    assert [row.name for row in comparison.rows] == ["none", "se", "nam"]


def test_a_seed_is_held_against_the_same_seed(new_record):
    runs = records(new_record, "none", (90.0, 70.0, 80.0), (99.0, 99.0, 99.0))
    runs += records(new_record, "se", (91.0, 71.1, 80.9), (99.0, 99.0, 99.0))[::-1]
    (comparison,) = judged(of_records(runs))
    difference = comparison.row("se").difference
    assert (difference.mean, difference.verdict) == (pytest.approx(1.0), "gain")


@pytest.mark.parametrize("test", ["dunnett", "paired"])
def test_all_comparisons_of_a_table_are_corrected_together(new_record, test):
    """Each row alone is a gain at 5 %; together in one table neither row is."""
    zero, gain = (90.0, 90.0, 90.0), (91.0, 91.3, 91.8)
    runs = []
    for model in ("resnet20", "resnet56"):
        runs += records(new_record, "none", zero, zero, model=model)
        runs += records(new_record, "se", gain, gain, model=model)
    table = judged(of_records(runs), test)
    alone = [judged([comparison], test)[0].row("se") for comparison in table]
    together = [comparison.row("se") for comparison in table]
    assert [row.verdict for row in alone] == ["gain", "gain"]
    assert [row.verdict for row in together] == ["not resolved"] * 2
    for row, single in zip(together, alone, strict=True):
        assert row.difference.p == pytest.approx(2 * single.difference.p)
