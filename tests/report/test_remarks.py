import pytest

from report.remarks import remarks
from report.table import judged, of_records


def comparison(new_record, **rows):
    runs = [
        new_record(name.replace("_", " "), seed, value)
        for name, values in rows.items()
        for seed, value in enumerate(values)
    ]
    return judged(of_records(runs))[0]


def said(found, start, **options):
    return [remark for remark in remarks(found, **options) if start in remark]


def test_a_row_with_another_spread_is_named(new_record):
    calm = {name: (90.0, 90.2, 90.1, 90.3) for name in ("none", "eca", "simam", "half")}
    found = comparison(new_record, se=(70.0, 99.0, 85.0, 93.0), **calm)
    (remark,) = said(found, "the spread over seeds is larger")
    assert remark.startswith("se: ")
    assert "test=paired" in remark


def test_control_equal_spreads_are_not_remarked_on(new_record):
    rows = {"none": (90.0, 90.3, 90.1), "se": (91.0, 91.4, 91.1), "nam": (90.5, 90.4, 90.9)}
    assert said(comparison(new_record, **rows), "the spread over seeds is larger") == []


def test_the_needed_seeds_are_told_with_their_time(new_record):
    rows = {"none": (90.0, 91.9, 90.1), "se": (91.6, 91.4, 90.2), "nam": (90.1, 91.7, 90.2)}
    (remark,) = said(comparison(new_record, **rows), "seeds that would resolve")
    assert "se " in remark
    assert "nam more than 50" in remark
    assert "±0.5 points in every row" in remark
    assert "h more one after another" in remark


def test_nothing_is_needed_where_every_row_is_resolved(new_record):
    rows = {"none": (90.0, 90.1, 90.2), "se": (99.0, 99.2, 99.1)}
    assert said(comparison(new_record, **rows), "seeds that would resolve") == []


def test_rows_inside_the_margin_are_equivalent_and_the_others_are_not(new_record):
    rows = {
        "none": (90.0, 90.3, 90.1, 90.2), "se": (90.1, 90.3, 90.1, 90.3),
        "nam": (93.0, 93.3, 93.1, 93.1),
    }  # fmt: skip
    found = comparison(new_record, **rows)
    assert said(found, "no difference beyond", margin=0.5) == [
        "no difference beyond ±0.5 points: se"
    ]
    assert said(found, "no difference beyond", margin=0.01) == [
        "no difference beyond ±0.01 points: no row"
    ]
    assert said(found, "no difference beyond") == []


@pytest.mark.parametrize("test", ["dunnett", "paired"])
def test_a_row_without_a_common_seed_is_named(new_record, test):
    runs = [new_record("none", 0, 90.0), new_record("none", 1, 91.0), new_record("nam", 7, 80.0)]
    runs += [new_record("se", 0, 90.0), new_record("se", 1, 91.5)]
    (found,) = judged(of_records(runs), test)
    assert said(found, "no seed in common") == ["nam: no seed in common with none, not compared"]


ALIKE = {"device": "cpu (x86_64, 1 threads)", "torch": "2.14", "ranks": 1, "data_digest": "a" * 64}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"device": "cuda"}, "differ in device (cpu: none; cuda: se)"),
        ({"torch": "2.15"}, "differ in torch (2.14: none; 2.15: se)"),
        ({"ranks": 2}, "differ in ranks (1: none; 2: se)"),
        ({"data_digest": "b" * 64}, "differ in data (aaaaaaaaaaaa: none; bbbbbbbbbbbb: se)"),
        ({"device": "cpu (x86_64, 2 threads)"}, None),
        ({"torch": None}, None),
        ({}, None),
    ],
)
def test_runs_that_differ_in_what_moves_accuracy_are_told(new_record, changes, told):
    runs = [new_record("none", 0, 90.0, **ALIKE), new_record("se", 0, 91.0, **ALIKE | changes)]
    (found,) = judged(of_records(runs))
    remarks_on_it = said(found, "the runs differ")
    assert len(remarks_on_it) == (told is not None)
    assert told is None or told in remarks_on_it[0]


def test_ranks_move_nothing_with_synchronized_batch_norm(new_record):
    runs = [
        new_record(a, 0, 90.0, ranks=n, other="syncbn=true") for a, n in (("none", 1), ("se", 2))
    ]
    (found,) = judged(of_records(runs))
    assert said(found, "the runs differ") == []
