"""A paired t test for each row against the baseline, with Holm's correction.

The test uses the spread of one row's differences alone. report.dunnett pools all rows.
"""

import math
from collections.abc import Mapping, Sequence

from scipy.stats import t as student

from report.stats import LEVEL, Difference, Runs, mean_std


def compare_pairs(tables: Sequence[tuple[Runs, str]]) -> list[dict[str, Difference]]:
    """The differences of each table's rows, from (runs, baseline); the p of all rows together.

    The interval is each row's own 95 % t interval; the verdict follows the adjusted p.
    """
    pairs = [(i, row, found) for i, table in enumerate(tables) for row, found in _rows(*table)]
    p_values = holm([_p_value(differences) for _, _, differences in pairs])
    tests = sum(p is not None for p in p_values)
    results: list[dict[str, Difference]] = [{} for _ in tables]
    for (i, row, differences), p in zip(pairs, p_values, strict=True):
        results[i][row] = _difference(differences, p, tests)
    return results


def paired(values: Mapping[int, float], baseline: Mapping[int, float]) -> list[float]:
    """The differences to the baseline at the seeds that both have, in the order of the seeds."""
    return [values[seed] - baseline[seed] for seed in sorted(values.keys() & baseline.keys())]


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Each p adjusted for all of them (Holm, 1979), in the order given; None stays None."""
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        adjusted[i] = largest
    return adjusted


def _rows(runs: Runs, baseline: str) -> list[tuple[str, list[float]]]:
    base = runs.get(baseline, {})
    pairs = [(row, paired(values, base)) for row, values in runs.items() if row != baseline]
    return [(row, differences) for row, differences in pairs if differences]


def _p_value(differences: Sequence[float]) -> float | None:
    """None for a single difference, and for equal ones: accuracies come in steps of one image."""
    mean, std = mean_std(differences)
    if not std:
        return None
    n = len(differences)
    return 2 * student.sf(abs(mean) * math.sqrt(n) / std, n - 1).item()


def _difference(differences: Sequence[float], p: float | None, tests: int) -> Difference:
    n, (mean, std) = len(differences), mean_std(differences)
    if p is None:
        return Difference(n, mean)
    error = std / math.sqrt(n)
    half, needed = (student.isf(level / 2, n - 1).item() for level in (LEVEL, LEVEL / tests))
    return Difference(n, mean, mean - half * error, mean + half * error, p, needed * error)
