"""Many rows against one baseline: Dunnett's test (1955) with a pooled spread.

The accuracy of a run is the sum of a row's effect, a seed's effect and noise. The noise has the
same spread in every row, so all rows together estimate the spread. The intervals of all rows hold
at the same time with probability 95 %: their half-width is the 95 % quantile of the largest |t| of
the rows, which share the baseline's noise and are therefore correlated.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.special import ndtr
from scipy.stats import chi2, multivariate_t
from scipy.stats import t as student

from report.stats import LEVEL, Difference, Runs

NODES = 48  # of each of the two quadratures
SEARCHED = 1000  # seeds at most, when the needed number is searched
EQUAL = 1e-18  # a smaller sum of squares is rounding: accuracies that do not differ allow no test


def compare_rows(tables: Sequence[tuple[Runs, str]]) -> list[dict[str, Difference]]:
    """The differences of each table's rows, from (runs, baseline).

    Several tables share the 5 %, each by its number of tested rows. The verdict of a row is gain or
    loss exactly if its interval excludes 0.
    """
    fits = [fit(runs, baseline) for runs, baseline in tables]
    tests = sum(len(found.tested) for found in fits)
    return [found.differences(len(found.tested) / max(1, tests)) for found in fits]


@dataclass(frozen=True)
class Fit:
    """The additive model of one table: row + seed, fitted by least squares.

    `counts` are the runs of each row, `means` the differences to the baseline, and `scale` the
    standard errors of the differences for a spread of 1. `correlation` is that of the differences
    of the `tested` rows. `spread` is the residual standard deviation on `freedom` degrees of
    freedom; a spread of 0 allows no test.
    """

    counts: dict[str, int]
    means: dict[str, float]
    scale: dict[str, float]
    tested: tuple[str, ...]
    correlation: np.ndarray
    spread: float
    freedom: int

    def differences(self, share: float) -> dict[str, Difference]:
        """Each row's difference; the table has `share` of the 5 %."""
        found = {row: Difference(self.counts[row], mean) for row, mean in self.means.items()}
        if not self.tested:
            return found
        quantile = critical_value(self.correlation, self.freedom, share * LEVEL)
        for row in self.tested:
            mean, error = self.means[row], self.scale[row] * self.spread
            p = 1 - largest_t_cdf(abs(mean) / error, self.correlation, self.freedom)
            half = quantile * error
            interval = (mean - half, mean + half)
            found[row] = Difference(self.counts[row], mean, *interval, min(1.0, p / share), half)
        return found


def fit(runs: Runs, baseline: str) -> Fit:
    """Fit one table. A row without a path of common seeds to the baseline has no difference."""
    cells = [(row, seed, v) for row, values in runs.items() for seed, v in values.items()]
    if not runs.get(baseline):
        return Fit({}, {}, {}, (), np.empty((0, 0)), 0.0, 0)
    design = _design(cells)
    inverse = np.linalg.pinv(design.T @ design)
    accuracy = np.array([value for _, _, value in cells])
    estimate = inverse @ design.T @ accuracy
    freedom = len(cells) - np.linalg.matrix_rank(design).item()
    residual = float(np.sum((accuracy - design @ estimate) ** 2))
    spread = math.sqrt(residual / freedom) if freedom and residual > EQUAL else 0.0
    contrasts = _contrasts(cells, baseline, design, inverse)
    errors = {row: math.sqrt(contrast @ inverse @ contrast) for row, contrast in contrasts.items()}
    counts = {row: _used(runs, row) for row in contrasts}
    tested = tuple(row for row in contrasts if spread and counts[row] > 1)
    unit = np.zeros((len(tested), design.shape[1]))
    for i, row in enumerate(tested):
        unit[i] = contrasts[row] / errors[row]
    correlation = unit @ inverse @ unit.T
    means = {row: float(contrast @ estimate) for row, contrast in contrasts.items()}
    return Fit(counts, means, errors, tested, correlation, spread, freedom)


def critical_value(correlation: np.ndarray, freedom: int, level: float) -> float:
    """The value that the largest of the |t| exceeds with probability `level`."""
    single, bonferroni = (student.isf(level / 2 / n, freedom) for n in (1, len(correlation)))
    if single == bonferroni:
        return float(single)

    def excess(t: float) -> float:
        return 1 - largest_t_cdf(t, correlation, freedom) - level

    return brentq(excess, single - 1e-3, bonferroni + 1e-3, xtol=1e-5)


def largest_t_cdf(t: float, correlation: np.ndarray, freedom: int) -> float:
    """The probability that each |t| of a multivariate t distribution is at most `t`, to 1e-4.

    If one common factor explains all correlations, as in a table without missing runs, two
    quadratures give the probability. Otherwise scipy integrates, with fixed random numbers.
    """
    loadings = _loadings(correlation)
    if loadings is not None:
        return _one_factor(t, loadings, freedom)
    bound = np.full(len(correlation), t)
    random = np.random.default_rng(0)
    options = {"lower_limit": -bound, "maxpts": 100_000, "random_state": random}
    return float(multivariate_t.cdf(bound, shape=correlation, df=freedom, **options))


def seeds_to_resolve(difference: float, spread: float, rows: int) -> int | None:
    """The seeds of a complete table of `rows` rows that make the half-width `difference`.

    None if SEARCHED seeds are too few.
    """
    correlation = np.full((rows, rows), 0.5) + 0.5 * np.eye(rows)

    def half_width(seeds: int) -> float:
        freedom = rows * (seeds - 1)
        return critical_value(correlation, freedom, LEVEL) * spread * math.sqrt(2 / seeds)

    few, many = 1, 2
    while half_width(many) > difference:
        few, many = many, 2 * many
        if few >= SEARCHED:
            return None
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if half_width(middle) <= difference else (middle, many)
    return many


def _design(cells: Sequence[tuple[str, int, float]]) -> np.ndarray:
    """A column for each row, then one for each seed; the columns are not independent.

    Seeds have no columns if no two runs share a seed: then runs differ by row alone.
    """
    rows = list(dict.fromkeys(row for row, _, _ in cells))
    seeds = list(dict.fromkeys(seed for _, seed, _ in cells))
    if len(seeds) == len(cells):
        return np.array([[float(row == name) for name in rows] for row, _, _ in cells])
    design = np.zeros((len(cells), len(rows) + len(seeds)))
    for i, (row, seed, _) in enumerate(cells):
        design[i, rows.index(row)] = design[i, len(rows) + seeds.index(seed)] = 1
    return design


def _used(runs: Runs, row: str) -> int:
    """The number of runs at seeds that other rows have too; all runs if no seed is shared."""
    others = {seed for name, values in runs.items() if name != row for seed in values}
    paired = sum(seed in others for seed in runs[row])
    return paired or len(runs[row])


def _contrasts(
    cells: Sequence[tuple[str, int, float]], baseline: str, design: np.ndarray, inverse: np.ndarray
) -> dict[str, np.ndarray]:
    """row -> the combination of columns that is the row's difference, if runs can estimate it."""
    names = list(dict.fromkeys(row for row, _, _ in cells))
    projection = inverse @ design.T @ design
    found = {}
    for row in (name for name in names if name != baseline):
        contrast = np.zeros(design.shape[1])
        contrast[names.index(row)], contrast[names.index(baseline)] = 1, -1
        if np.allclose(contrast @ projection, contrast):
            found[row] = contrast
    return found


def _loadings(correlation: np.ndarray) -> np.ndarray | None:
    """λ with correlation[i, j] = λ_i·λ_j for i ≠ j; None if there is none."""
    if len(correlation) == 1:
        return np.zeros(1)
    if len(correlation) == 2:
        return np.sqrt(correlation[0, 1]).repeat(2) if correlation[0, 1] >= 0 else None
    first, second, third = correlation[0, 1], correlation[0, 2], correlation[1, 2]
    if min(first, second, third) <= 0:
        return None
    loadings = np.empty(len(correlation))
    loadings[0] = math.sqrt(first * second / third)
    loadings[1:] = correlation[0, 1:] / loadings[0]
    product = np.outer(loadings, loadings)
    np.fill_diagonal(product, 1)
    return loadings if np.allclose(product, correlation, atol=1e-9) and loadings.max() < 1 else None


def _one_factor(t: float, loadings: np.ndarray, freedom: int) -> float:
    """Integrate over the common factor (Gauss-Hermite) and over the spread (Gauss-Legendre)."""
    factor, weights = np.polynomial.hermite_e.hermegauss(NODES)
    quantiles, shares = np.polynomial.legendre.leggauss(NODES)
    spread = np.sqrt(chi2.ppf((quantiles + 1) / 2, freedom) / freedom)[:, None, None]
    center, width = loadings * factor[:, None], np.sqrt(1 - loadings**2)
    inside = ndtr((t * spread + center) / width) - ndtr((-t * spread + center) / width)
    return float(shares / 2 @ np.prod(inside, -1) @ (weights / weights.sum()))
