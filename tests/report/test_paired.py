import numpy as np
import pytest
from scipy import stats as scipy_stats

from report.paired import compare_pairs, holm, paired
from report.stats import Difference, mean_std, std_interval

# Student's sleep data (1908): ten patients, the hours two drugs gave each
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def exact(value):
    return pytest.approx(value, rel=1e-12, abs=1e-12)


def by_seed(values):
    return dict(enumerate(values))


def compared(*rows, baseline):
    """The differences of these rows to the baseline, in one table."""
    runs = {"none": by_seed(baseline)} | {str(i): by_seed(row) for i, row in enumerate(rows)}
    return list(compare_pairs([(runs, "none")])[0].values())


def test_mean_and_sample_deviation_of_a_textbook_example():
    mean, std = mean_std([2, 4, 4, 4, 5, 5, 7, 9])
    assert mean == 5
    assert std == exact((32 / 7) ** 0.5)


def test_one_run_has_no_spread_and_no_verdict():
    assert mean_std([78.0]) == (78.0, None)
    (found,) = compared([78.5], baseline=[78.0])
    assert found == Difference(1, 0.5)
    assert found.verdict == "not resolved"


def test_pairs_are_runs_at_equal_seeds():
    assert paired({0: 3.0, 2: 5.0, 7: 9.0}, {2: 4.0, 0: 1.0, 5: 0.0}) == [2.0, 1.0]


def test_the_paired_test_of_student_s_sleep_data():
    (found,) = compared(SECOND, baseline=FIRST)
    assert found.mean == exact(1.58)
    assert found.p == pytest.approx(0.002833, abs=5e-7)  # as R's t.test prints it
    assert (found.low, found.high) == pytest.approx((0.7001142, 2.4598858), abs=5e-8)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_interval_and_test_agree_with_scipy(n):
    values = np.random.default_rng(n).normal(0.3, 1, (2, n))
    (found,) = compared(values[0], baseline=values[1])
    theirs = scipy_stats.ttest_rel(*values)
    assert found.p == exact(theirs.pvalue)
    assert (found.low, found.high) == exact(tuple(theirs.confidence_interval(0.95)))


def test_equal_differences_are_no_evidence():
    (found,) = compared([2.25, 3.25], baseline=[1.0, 2.0])
    assert found == Difference(2, 1.25)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == exact([0.03, 0.06, 0.06, 0.02])
    assert holm([None, 0.02, None]) == [None, 0.02, None]
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_holm_adjusts_as_its_definition_says():
    p = np.random.default_rng(0).random(9)
    order = np.argsort(p)
    slow = [max(min(1, (9 - j) * p[order[j]]) for j in range(i + 1)) for i in range(9)]
    assert [holm(p.tolist())[i] for i in order] == exact(slow)


def test_the_smallest_resolvable_difference_is_where_the_verdict_turns():
    values = np.array([0.3, 0.5, 0.1, 0.45, 0.2])
    nothing = [np.array([1.0, -1.0, 1.0, -1.0, 0.0])] * 3  # p = 1: Holm multiplies the first by 4
    resolvable = compared(values, *nothing, baseline=np.zeros(5))[0].resolvable
    for factor, expected in ((0.999, "not resolved"), (1.001, "gain")):
        moved = values - values.mean() + factor * resolvable
        assert compared(moved, *nothing, baseline=np.zeros(5))[0].verdict == expected


def test_several_tables_share_the_correction():
    runs = {"none": by_seed([0.0] * 3), "se": by_seed([1.0, 1.3, 1.8])}
    (alone,) = compare_pairs([(runs, "none")])
    together = compare_pairs([(runs, "none")] * 2)
    assert [found["se"].p for found in together] == exact([2 * alone["se"].p] * 2)
    assert (alone["se"].verdict, together[0]["se"].verdict) == ("gain", "not resolved")


def test_the_interval_of_a_deviation_is_that_of_the_tables_of_chi_square():
    """With 9 degrees of freedom the printed quantiles are 2.700 and 19.023."""
    low, high = std_interval(0.5, 10)
    assert low == pytest.approx(0.5 * (9 / 19.023) ** 0.5, rel=1e-4)
    assert high == pytest.approx(0.5 * (9 / 2.700) ** 0.5, rel=1e-4)
