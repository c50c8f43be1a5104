import numpy as np
import pytest
from scipy import stats as scipy_stats

from report.stats import Difference, difference, holm, mean_std, paired, verdict

# Student's sleep data (1908): ten patients, the hours two drugs gave each
FIRST = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
SECOND = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def exact(value):
    return pytest.approx(value, rel=1e-12, abs=1e-12)


def test_mean_and_sample_deviation_of_a_textbook_example():
    mean, std = mean_std([2, 4, 4, 4, 5, 5, 7, 9])
    assert mean == 5
    assert std == exact((32 / 7) ** 0.5)


def test_one_run_has_no_spread():
    assert mean_std([78.0]) == (78.0, None)
    assert difference([0.4]) == Difference(1, 0.4, None, None, None, None)


def test_pairs_are_runs_at_equal_seeds():
    assert paired({0: 3.0, 2: 5.0, 7: 9.0}, {2: 4.0, 0: 1.0, 5: 0.0}) == [2.0, 1.0]


def test_the_paired_test_of_student_s_sleep_data():
    found = difference([b - a for a, b in zip(FIRST, SECOND, strict=True)])
    assert found.mean == exact(1.58)
    assert found.p == pytest.approx(0.002833, abs=5e-7)  # as R's t.test prints it
    assert (found.low, found.high) == pytest.approx((0.7001142, 2.4598858), abs=5e-8)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_interval_and_test_agree_with_scipy(n):
    values = np.random.default_rng(n).normal(0.3, 1, (2, n))
    found = difference((values[0] - values[1]).tolist())
    theirs = scipy_stats.ttest_rel(*values)
    assert found.p == exact(theirs.pvalue)
    assert (found.low, found.high) == exact(tuple(theirs.confidence_interval(0.95)))
    assert found.std == exact(np.std(values[0] - values[1], ddof=1))


def test_equal_differences_are_no_evidence():
    found = difference([1.25, 1.25])
    assert (found.mean, found.p, found.low, found.resolvable(1)) == (1.25, None, None, None)


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
    resolvable = difference(values.tolist()).resolvable(tests=4)
    for factor, expected in ((0.999, "not resolved"), (1.001, "gain")):
        moved = difference((values - values.mean() + factor * resolvable).tolist())
        assert verdict(moved.mean, 4 * moved.p) == expected


def test_verdicts():
    assert verdict(0.4, 0.01) == "gain"
    assert verdict(-0.4, 0.05) == "loss"
    assert verdict(0.4, 0.051) == verdict(0.4, None) == "not resolved"


def false_verdicts(gain, tables=2000, rows=8, seeds=5):
    """The share of simulated tables with any verdict; rows share the baseline, as real ones do."""
    draw = np.random.default_rng(2026).normal(size=(tables, rows + 1, seeds))
    called = 0
    for table in draw:
        tests = [difference((row + gain - table[0]).tolist()) for row in table[1:]]
        adjusted = holm([test.p for test in tests])
        called += any(
            verdict(test.mean, p) != "not resolved" for test, p in zip(tests, adjusted, strict=True)
        )
    return called / tables


def test_a_table_without_a_gain_calls_one_in_at_most_5_percent_of_simulations():
    assert false_verdicts(gain=0) <= 0.05


def test_control_a_real_gain_is_called():
    assert false_verdicts(gain=5, tables=100) > 0.9
