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
