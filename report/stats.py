"""Statistics over seeds: what the tests of a table have in common."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import chi2

LEVEL = 0.05  # of a whole table: the chance that it reports any gain or loss if there is none

Runs = Mapping[str, Mapping[int, float]]  # row -> seed -> accuracy in %


@dataclass(frozen=True)
class Difference:
    """The difference of a row to the baseline, in points of accuracy, from `n` runs of the row.

    `low` and `high` are the ends of the interval. `p` is adjusted for all rows of the table.
    `resolvable` is the smallest difference that these runs could have resolved. All four are None
    if the runs allow no test.
    """

    n: int
    mean: float
    low: float | None = None
    high: float | None = None
    p: float | None = None
    resolvable: float | None = None

    @property
    def verdict(self) -> str:
        """gain, loss or not resolved."""
        if self.p is None or self.p > LEVEL:
            return "not resolved"
        return "gain" if self.mean > 0 else "loss"

    def is_equivalent(self, margin: float) -> bool:
        """Whether the whole interval lies inside ±`margin`: equivalence to the baseline."""
        return self.low is not None and -margin < self.low and self.high < margin


def mean_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1); one value has no deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return statistics.fmean(values), deviation


def std_interval(std: float, n: int) -> tuple[float, float]:
    """The interval of the standard deviation behind n > 1 normal values whose sample one is `std`.

    (n - 1)·std²/σ² follows chi-square's distribution; the interval holds σ with 1 - LEVEL.
    """
    low, high = chi2.ppf([1 - LEVEL / 2, LEVEL / 2], n - 1)
    return std * math.sqrt((n - 1) / low), std * math.sqrt((n - 1) / high)
