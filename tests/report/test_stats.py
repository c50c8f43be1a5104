import pytest

from report.stats import mean_std, paired


def test_mean_and_sample_deviation_of_a_textbook_example():
    mean, std = mean_std([2, 4, 4, 4, 5, 5, 7, 9])
    assert mean == 5
    assert std == pytest.approx((32 / 7) ** 0.5, abs=1e-12)


def test_one_run_has_no_spread():
    assert mean_std([78.0]) == (78.0, None)


def test_pairs_are_runs_at_equal_seeds():
    assert paired({0: 3.0, 2: 5.0, 7: 9.0}, {2: 4.0, 0: 1.0, 5: 0.0}) == [2.0, 1.0]
