import pytest

from report.cells import blocks
from report.published import PublishedValue
from report.remarks import remarks
from report.table import Comparison, TableRow, by_images, judged, of_records, with_published

PRINTED = PublishedValue(
    source="Somebody (2020), Table 1", url="https://example.org", protocol="best epoch",
    evidence="seen", data="digits", note="", model="resnet20", row="se", top1=95.5,
)  # fmt: skip


def test_the_baseline_comes_first_and_then_the_best(compared):
    (comparison,) = compared
    assert comparison.title == "digits, resnet20, recipe digits"
    assert [row.name for row in comparison.rows] == ["none", "se", "nam"]


def test_rows_are_judged_with_one_spread(compared):
    none, se, nam = compared[0].rows
    assert (none.difference, none.verdict) == (None, "")
    assert se.difference.mean == pytest.approx(2.0)
    assert se.difference.resolvable == pytest.approx(nam.difference.resolvable)
    assert (se.verdict, nam.verdict) == ("gain", "not resolved")


def test_the_best_epoch_is_set_apart(compared):
    se = compared[0].row("se")
    assert se.spread("top1")[0] == pytest.approx(93.0)
    assert se.selection == pytest.approx(0.25)


def test_options_of_the_attention_are_rows_and_all_else_is_another_comparison(new_record):
    records = [
        new_record(), new_record("se"), new_record("se", other="attn.reduction=4"),
        new_record("se", model="resnet56"), new_record("se", other="recipe.epochs=6"),
    ]  # fmt: skip
    comparisons = of_records(records)
    assert [[row.name for row in c.rows] for c in comparisons] == [
        ["none", "se", "se attn.reduction=4"], ["se"], ["se"],
    ]  # fmt: skip
    assert comparisons[2].title == "digits, resnet20, recipe digits, recipe.epochs=6"


def test_missing_and_unequal_seeds_are_said(new_record):
    records = [new_record(), new_record(seed=1), new_record("se", 1), new_record("nam", 7, 80.0)]
    (comparison,) = judged(of_records(records))
    assert comparison.row("se").difference.n == 1
    assert comparison.row("nam").difference is None
    assert remarks(comparison, seeds=[0, 1]) == [
        "se: only seeds 1; missing 0", "nam: only seeds 7; missing 0, 1",
        "nam: no seed in common with none, not compared",
    ]  # fmt: skip
    assert "se: only seeds 1; missing 0, 7" in remarks(comparison)


def test_without_a_baseline_nothing_is_compared_and_that_is_said(new_record):
    (comparison,) = judged(of_records([new_record("se")]))
    assert comparison.rows[0].difference is None
    assert remarks(comparison) == ["no finished run of none, so nothing to compare with"]


def test_published_values_stand_at_their_rows_and_nowhere_else(compared):
    other = PublishedValue(**vars(PRINTED) | {"model": "resnet50"})
    (comparison,), rest = with_published(compared, [PRINTED, other])
    assert comparison.row("se").published == [PRINTED]
    assert comparison.row("nam").published == []
    assert rest == [other]


def test_a_planned_row_without_runs_is_kept():
    (comparison,) = judged(
        [Comparison("title", "digits", "resnet20", [TableRow("none"), TableRow("se")])]
    )
    assert [row.n for row in comparison.rows] == [0, 0]
    assert remarks(comparison, [0]) == ["no finished run yet"]


def test_a_table_can_compare_by_the_held_out_images(new_record):
    runs = [
        new_record(a, 0, test, val_top1=val)
        for a, test, val in (("none", 90.0, 60.0), ("se", 80.0, 70.0))
    ]
    (found,) = of_records(runs)
    (judged_by_val,) = judged([by_images(found, "val")])
    assert judged_by_val.accuracies == {"se": {0: 70.0}, "none": {0: 60.0}}
    assert judged_by_val.measured == "val"
    assert by_images(found, "test") is found
    assert blocks(judged_by_val)[0].heading.startswith("Top-1 of the held-out images")


def test_a_run_without_held_out_images_cannot_be_selected_by_them(new_record):
    (found,) = of_records([new_record() | {"path": "runs/x"}])
    with pytest.raises(ValueError, match=r"runs/x held out no images; train with data\.val=N"):
        by_images(found, "val")
