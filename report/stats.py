"""Statistics over seeds: pure functions of numbers."""

import statistics
from collections.abc import Mapping, Sequence


def mean_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation (n - 1); one value has no deviation."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return statistics.fmean(values), deviation


def paired(values: Mapping[int, float], baseline: Mapping[int, float]) -> list[float]:
    """The differences to the baseline at the seeds that both have, in the order of the seeds."""
    return [values[seed] - baseline[seed] for seed in sorted(values.keys() & baseline.keys())]
