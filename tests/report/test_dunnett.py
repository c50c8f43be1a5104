import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from report.dunnett import compare_rows, critical_value, fit, largest_t_cdf, seeds_to_resolve
from report.stats import Difference

# Dunnett (1955): blood counts of animals, a control and two drugs
CONTROL = [7.40, 8.50, 7.20, 8.24, 9.84, 8.32]
DRUG_A = [9.76, 8.80, 7.68, 9.36]
DRUG_B = [12.80, 9.68, 12.16, 9.20, 10.55]


def own_seeds(**rows):
    """Runs without a common seed."""
    count = iter(range(1000))
    return {row: {next(count): value for value in values} for row, values in rows.items()}


def shared_seeds(table):
    """Runs of every row at seeds 0, 1, ...; the first row is the baseline."""
    return {str(i): dict(enumerate(row)) for i, row in enumerate(table)}


def equal_correlation(rows):
    return np.full((rows, rows), 0.5) + 0.5 * np.eye(rows)


def test_dunnetts_own_example():
    runs = own_seeds(control=CONTROL, a=DRUG_A, b=DRUG_B)
    (found,) = compare_rows([(runs, "control")])
    assert (found["a"].p, found["b"].p) == pytest.approx((0.6201, 0.0058), abs=1e-4)
    theirs = scipy_stats.dunnett(DRUG_A, DRUG_B, control=CONTROL, rng=0)
    assert [found["a"].p, found["b"].p] == pytest.approx(list(theirs.pvalue), abs=2e-4)
    interval = theirs.confidence_interval(0.95)
    assert [found["a"].low, found["b"].low] == pytest.approx(list(interval.low), abs=2e-3)


def test_blocks_by_hand():
    """Two rows at three seeds: with one difference, Dunnett's test is the paired t test."""
    runs = {"none": {0: 1.0, 1: 5.0, 2: 9.0}, "se": {0: 2.0, 1: 7.0, 2: 12.0}}
    found = fit(runs, "none")
    # residuals ±1/2, 0, ±1/2 in both rows: 4/4 = 1 on (2 - 1)(3 - 1) = 2 degrees of freedom
    assert (found.spread, found.freedom) == (pytest.approx(math.sqrt(0.5)), 2)
    (table,) = compare_rows([(runs, "none")])
    theirs = scipy_stats.ttest_rel([2, 7, 12], [1, 5, 9])
    assert table["se"].mean == pytest.approx(2.0)
    assert table["se"].p == pytest.approx(theirs.pvalue, abs=1e-4)
    interval = theirs.confidence_interval(0.95)
    assert (table["se"].low, table["se"].high) == pytest.approx(tuple(interval), abs=1e-2)


def test_a_missing_run_is_estimated_from_the_rows_that_have_its_seed():
    """The same least squares solution as numpy's solver on independent columns."""
    runs = {
        "none": {0: 70.0, 1: 71.0, 2: 72.5},
        "se": {0: 70.5, 2: 73.1},
        "nam": {1: 70.2, 2: 71.4},
    }
    cells = [(r, s, v) for r, seeds in runs.items() for s, v in seeds.items()]
    columns = [[1, r == "se", r == "nam", s == 1, s == 2] for r, s, _ in cells]
    x, y = np.array(columns, float), np.array([v for *_, v in cells])
    solution, (squares,), *_ = np.linalg.lstsq(x, y)
    covariance = np.linalg.inv(x.T @ x)
    found = fit(runs, "none")
    assert [found.means["se"], found.means["nam"]] == pytest.approx(solution[1:3].tolist())
    assert (found.spread, found.freedom) == (pytest.approx(math.sqrt(squares / 2)), 2)
    errors = np.sqrt(np.diag(covariance))[1:3]
    assert [found.scale["se"], found.scale["nam"]] == pytest.approx(errors.tolist())
    assert found.correlation[0, 1] == pytest.approx(covariance[1, 2] / errors.prod())


@pytest.mark.parametrize(("rows", "freedom"), [(1, 2), (2, 4), (3, 4), (10, 20)])
def test_quadrature_and_scipy_agree(rows, freedom):
    correlation, bound = equal_correlation(rows), np.full(rows, 2.5)
    theirs = scipy_stats.multivariate_t.cdf(
        bound, shape=correlation, df=freedom, lower_limit=-bound, maxpts=400_000, random_state=1
    )
    assert largest_t_cdf(2.5, correlation, freedom) == pytest.approx(float(theirs), abs=1e-4)


def test_correlations_without_a_common_factor_are_deterministic():
    correlation = np.array([[1, 0.6, 0.1], [0.6, 1, 0.5], [0.1, 0.5, 1]])
    values = [largest_t_cdf(2.2, correlation, 7) for _ in range(3)]
    assert len(set(values)) == 1
    assert largest_t_cdf(2.2, equal_correlation(3), 7) < values[0] + 0.02


def test_the_critical_value_of_a_printed_table():
    """Dunnett (1964), two-sided 5 %: 3 rows and 10 degrees of freedom 2.76, 9 and 20 2.95."""
    assert critical_value(equal_correlation(3), 10, 0.05) == pytest.approx(2.76, abs=0.006)
    assert critical_value(equal_correlation(9), 20, 0.05) == pytest.approx(2.95, abs=0.011)


def test_interval_p_and_verdict_say_the_same():
    table = 70 + np.random.default_rng(3).normal(size=(9, 4)) + np.arange(9)[:, None] / 2
    (found,) = compare_rows([(shared_seeds(table), "0")])
    verdicts = [row.verdict for row in found.values()]
    assert {"gain", "not resolved"} == set(verdicts)
    for row in found.values():
        assert (row.low > 0 or row.high < 0) == (row.p <= 0.05) == (row.verdict != "not resolved")
        assert row.resolvable == pytest.approx(row.high - row.mean)


def test_tables_share_the_five_percent_by_their_rows():
    table = 70 + np.random.default_rng(4).normal(size=(4, 3))
    (alone,) = compare_rows([(shared_seeds(table), "0")])
    twice = compare_rows([(shared_seeds(table), "0")] * 2)
    for row, found in alone.items():
        assert twice[0][row].p == pytest.approx(min(1, 2 * found.p))
        assert twice[1][row].resolvable > found.resolvable


def test_runs_without_a_spread_get_no_verdict():
    single = {"none": {0: 70.0}, "se": {0: 75.0}}
    equal = {"none": {0: 70.0, 1: 71.0}, "se": {0: 75.0, 1: 76.0}}
    for runs in (single, equal):
        (found,) = compare_rows([(runs, "none")])
        assert found["se"] == Difference(len(runs["se"]), pytest.approx(5.0))
        assert found["se"].verdict == "not resolved"


def test_a_row_that_shares_no_seed_is_not_compared():
    runs = {"none": {0: 70.0, 1: 71.0}, "se": {0: 71.0, 1: 73.0}, "nam": {5: 80.0, 6: 81.0}}
    (found,) = compare_rows([(runs, "none")])
    assert set(found) == {"se"}


def test_the_half_width_at_the_needed_seeds_is_just_below_the_difference():
    needed = seeds_to_resolve(0.5, 0.65, 10)
    for seeds, enough in ((needed, True), (needed - 1, False)):
        quantile = critical_value(equal_correlation(10), 10 * (seeds - 1), 0.05)
        assert (quantile * 0.65 * math.sqrt(2 / seeds) <= 0.5) is enough
    assert seeds_to_resolve(1e-6, 1.0, 3) is None


def test_equivalence_needs_the_whole_interval_inside():
    inside = Difference(3, 0.1, -0.3, 0.45, 0.9, 0.4)
    assert inside.is_equivalent(0.5)
    assert not inside.is_equivalent(0.4)
    assert not Difference(1, 0.0).is_equivalent(0.5)


def false_verdicts(rows, seeds, tables, gain=0.0):
    """The share of simulated tables with a verdict; seeds have effects, as in real tables."""
    random = np.random.default_rng(rows * seeds)
    limit = critical_value(equal_correlation(rows), rows * (seeds - 1), 0.05)
    called = 0
    for _ in range(tables):
        table = random.normal(size=(rows + 1, seeds)) + random.normal(size=seeds)
        table[1:] += gain
        found = fit(shared_seeds(table), "0")
        errors = [found.scale[row] * found.spread for row in found.tested]
        called += max(abs(np.array(list(found.means.values())) / errors)) > limit
    return called / tables


def test_at_most_5_percent_of_tables_without_an_effect_get_a_verdict():
    tables = 400
    limit = scipy_stats.binom.ppf(0.999, tables, 0.05) / tables
    assert false_verdicts(3, 3, tables) <= limit


def test_control_a_real_gain_is_called():
    assert false_verdicts(3, 3, 50, gain=8) > 0.9
