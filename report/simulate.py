"""Simulate tables to count wrong and missed verdicts: `python -m report.simulate`.

Prints the share of tables with a false verdict if no row differs from the baseline, and the share
of rows found if one row truly differs.
"""

import functools
from collections.abc import Callable

import numpy as np

from report.dunnett import critical_value, fit
from report.paired import compare_pairs
from report.stats import LEVEL, Runs

TABLES = 20_000
Decide = Callable[[Runs], dict[str, bool]]  # row -> whether the row gets a verdict


@functools.cache
def limit(rows: int, seeds: int) -> float:
    """The critical value of a complete table: the same in each simulated table."""
    correlation = np.full((rows, rows), 0.5) + 0.5 * np.eye(rows)
    return critical_value(correlation, rows * (seeds - 1), LEVEL)


def dunnett(runs: Runs) -> dict[str, bool]:
    """The verdicts of report.dunnett, whose interval excludes 0 if |t| exceeds the limit."""
    found = fit(runs, "0")
    bound = limit(len(found.tested), len(runs["0"])) * found.spread
    return {row: abs(found.means[row]) > bound * found.scale[row] for row in found.tested}


def paired(runs: Runs) -> dict[str, bool]:
    """The verdicts of report.paired."""
    (found,) = compare_pairs([(runs, "0")])
    return {row: difference.verdict != "not resolved" for row, difference in found.items()}


def simulate(
    decide: Decide,
    rows: int,
    seeds: int,
    seed_effects: float = 1.0,
    widest: float = 1.0,
    gain: float = 0.0,
    tables: int = TABLES,
) -> float:
    """The share of tables with a verdict on the first row if `gain`, else on any row.

    The spread of a run is 1, in the first row `widest`; `gain` is in units of the spread.
    """
    random = np.random.default_rng(1955)
    spreads = np.ones(rows + 1)
    spreads[1] = widest
    found = 0
    for _ in range(tables):
        table = spreads[:, None] * random.normal(size=(rows + 1, seeds))
        table += seed_effects * random.normal(size=seeds)
        table[1] += gain
        runs = {str(i): dict(enumerate(row.tolist())) for i, row in enumerate(table)}
        decided = decide(runs)
        found += decided["1"] if gain else any(decided.values())
    return found / tables


def main() -> None:
    """Print the tables of docs/tables.md."""
    print("| rows | seeds | no seed effects | seed effects | one row twice as wide |")
    print("|---|---|---|---|---|")
    for rows in (3, 11):
        for seeds in (2, 3, 5):
            options = ({"seed_effects": 0.0}, {}, {"widest": 2.0})
            shares = [simulate(dunnett, rows, seeds, **chosen) for chosen in options]
            cells = [str(rows), str(seeds), *[f"{100 * share:.1f} %" for share in shares]]
            print(f"| {' | '.join(cells)} |", flush=True)
    print("\n| test | a true difference of 1.5 points found: spread 0.65, 10 rows, 3 seeds |")
    print("|---|---|")
    for decide in (dunnett, paired):
        share = simulate(decide, 10, 3, gain=1.5 / 0.65)
        print(f"| {decide.__name__} | {100 * share:.0f} % |", flush=True)


if __name__ == "__main__":
    main()
