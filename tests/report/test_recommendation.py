import pytest

from report.recommendation import recommendation
from report.table import judged, of_records

NONE = (90.0, 90.3, 90.2)


@pytest.fixture
def said(new_record):
    def recommend(macs=(), test="dunnett", **rows):
        runs = [
            new_record(name, seed, value, macs=dict(macs).get(name, 1000))
            for name, values in rows.items()
            for seed, value in enumerate(values)
        ]
        return recommendation(judged(of_records(runs), test)[0])

    return recommend


def test_a_gain_is_recommended_with_its_interval_and_cost(said):
    line = said(none=NONE, se=(92.0, 92.4, 92.1), eca=(90.1, 90.4, 90.2), macs={"se": 1100})
    assert line == "At 5 epochs, take se: the gain is 2.0 points (1.9 to 2.1) for 1.10× the MACs."


def test_of_gains_that_are_not_told_apart_the_cheapest_is_taken(said):
    top1 = {"none": NONE, "best": (92.0, 92.7, 92.3), "cheap": (91.9, 92.3, 92.5)}
    line = said(**top1, macs={"best": 1100, "cheap": 1050})
    assert "take cheap: " in line
    assert line.endswith(
        "for 1.05× the MACs. The runs do not tell cheap from best; cheap is the cheapest."
    )


def test_a_cheaper_gain_that_is_resolved_to_be_smaller_is_not_taken(said):
    top1 = {"none": NONE, "best": (95.0, 95.4, 95.1), "cheap": (92.0, 92.4, 92.1)}
    assert "take best: " in said(**top1, macs={"best": 1100})


def test_a_large_difference_that_is_not_resolved_is_never_recommended(said):
    line = said(none=(80.0, 90.0), se=(99.0, 84.0))
    assert line.startswith("No answer yet: no difference is resolved, and a gain above ")


def test_without_a_gain_the_baseline_stays_the_choice(said):
    line = said(none=NONE, nam=(80.0, 80.1, 80.4), eca=(90.2, 90.4, 90.2))
    assert line == (
        "At 5 epochs, keep none: no row gains, and a gain above 0.5 points is ruled out. "
        "If the 0.1 points of eca are real, 22 seeds resolve them."
    )
    every = said(none=NONE, nam=(80.0, 80.1, 80.4))
    assert every == "At 5 epochs, keep none: every other row loses."


def test_one_seed_is_no_answer(said):
    assert said(none=(90.0,), se=(99.0,)).startswith("No answer yet: these runs allow no test")


def test_the_paired_test_promises_no_seeds(said):
    line = said(none=NONE, eca=(90.1, 90.5, 90.2), nam=(89.0, 91.0, 90.4), test="paired")
    assert line.startswith("No answer yet")
    assert "seeds" not in line


def test_without_a_baseline_there_is_no_line(said):
    assert said(se=(99.0, 99.2)) == ""
