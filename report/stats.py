"""Statistics over seeds: pure functions of numbers.

Runs at one seed share the initial backbone and the order of the images, so a module is compared
with the baseline seed by seed.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import t as student

LEVEL = 0.05  # of a whole table: the chance that it calls anything a gain or a loss where none is


@dataclass(frozen=True)
class Difference:
    """`n` paired differences: their mean, the ends of its 95 % t interval, and the t test's p.

    One difference has no spread, interval or test, and neither have equal ones: that accuracies
    come in steps of one image is no evidence.
    """

    n: int
    mean: float
    std: float | None
    low: float | None
    high: float | None
    p: float | None

    def resolvable(self, tests: int) -> float | None:
        """The smallest mean that would have counted at this n and spread, as one of `tests`."""
        if not self.std:
            return None
        return _quantile(LEVEL / tests, self.n - 1) * self.std / math.sqrt(self.n)


def mean_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1); one value has no deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return statistics.fmean(values), deviation


def paired(values: Mapping[int, float], baseline: Mapping[int, float]) -> list[float]:
    """The differences to the baseline at the seeds that both have, in the order of the seeds."""
    return [values[seed] - baseline[seed] for seed in sorted(values.keys() & baseline.keys())]


def difference(differences: Sequence[float]) -> Difference:
    """What paired differences say; at least one is needed."""
    n = len(differences)
    mean, std = mean_std(differences)
    if not std:
        return Difference(n, mean, std, None, None, None)
    error = std / math.sqrt(n)
    half = _quantile(LEVEL, n - 1) * error
    p = 2 * student.sf(abs(mean) / error, n - 1).item()
    return Difference(n, mean, std, mean - half, mean + half, p)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Each p as it counts among all of them (Holm, 1979), in the order given; None stays None."""
    tested = sorted((p, i) for i, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, i) in enumerate(tested):
        largest = max(largest, min(1.0, (len(tested) - rank) * p))
        adjusted[i] = largest
    return adjusted


def verdict(mean: float, p: float | None) -> str:
    """gain, loss or not resolved, by the p that Holm has adjusted."""
    if p is None or p > LEVEL:
        return "not resolved"
    return "gain" if mean > 0 else "loss"


def _quantile(level: float, freedom: int) -> float:
    return student.isf(level / 2, freedom).item()
