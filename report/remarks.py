"""The remarks below a table: missing runs, unequal spreads, seeds needed."""

import math
import statistics
from collections.abc import Mapping, Sequence

from scipy.stats import f as fisher
from scipy.stats import levene

from report.dunnett import fit, seeds_to_resolve
from report.table import Comparison, TableRow

UNEVEN = 0.01  # the p below which spreads are called different
TARGET = 0.5  # points of accuracy that a reader may want to resolve
MANY = 50  # seeds; a larger number is said as "more than"


def remarks(
    comparison: Comparison, seeds: Sequence[int] | None = None, margin: float | None = None
) -> list[str]:
    """The remarks on one comparison; `seeds` are the planned ones, `margin` that of equivalence."""
    if not any(row.n for row in comparison.rows):
        return ["no finished run yet"]
    said = [*_missing(comparison, seeds), *_unpaired(comparison)]
    if comparison.test == "dunnett":
        said += [*_uneven(comparison), *_seeds_needed(comparison)]
    return said + (_equivalent(comparison, margin) if margin else [])


def _missing(comparison: Comparison, seeds: Sequence[int] | None) -> list[str]:
    baseline, said = comparison.row(comparison.baseline), []
    if baseline is None or not baseline.n:
        said.append(f"no finished run of {comparison.baseline}, so nothing to compare with")
    wanted = seeds if seeds is not None else _all_seeds(comparison)
    for row in comparison.rows:
        if missing := sorted(set(wanted) - set(row.seeds)):
            have = f"only seeds {_list(row.seeds)}" if row.n else "no finished run"
            said.append(f"{row.name}: {have}; missing {_list(missing)}")
    return said


def _unpaired(comparison: Comparison) -> list[str]:
    """Rows with runs that cannot be compared, because they share no seed with the others."""
    baseline = comparison.row(comparison.baseline)
    if baseline is None or not baseline.n:
        return []
    lost = [r.name for r in comparison.rows if r.n and r is not baseline and not r.difference]
    return [f"{_names(lost)}: no seed in common with {baseline.name}, not compared"] if lost else []


def _uneven(comparison: Comparison) -> list[str]:
    """Brown and Forsythe's test over the rows, and each row's spread against the other rows'."""
    values = {row.name: list(row.by_seed("top1").values()) for row in comparison.rows if row.n > 2}
    if len(values) < 2 or not fit(comparison.accuracies, comparison.baseline).spread:
        return []
    wide = [name for name in values if _p_wider(name, values) < UNEVEN / len(values)]
    if not wide and levene(*values.values(), center="median").pvalue >= UNEVEN:
        return []
    which = (
        f"{_names(wide)}: the spread over seeds is larger than in" if wide else "spreads differ in"
    )
    return [f"{which} the other rows, so the pooled test may mislead; see test=paired"]


def _p_wider(name: str, values: Mapping[str, Sequence[float]]) -> float:
    """The p of an F test: the variance of one row against that of all other rows."""
    others = [statistics.variance(v) * (len(v) - 1) for k, v in values.items() if k != name]
    freedom = sum(len(v) - 1 for k, v in values.items() if k != name)
    pooled = sum(others) / freedom
    ratio = statistics.variance(values[name]) / pooled if pooled else math.inf
    return fisher.sf(ratio, len(values[name]) - 1, freedom)


def _seeds_needed(comparison: Comparison) -> list[str]:
    """The seeds that would resolve the differences seen, and TARGET points, with their time."""
    found = fit(comparison.accuracies, comparison.baseline)
    open_rows = [r for r in comparison.rows if r.difference and r.verdict == "not resolved"]
    if not found.tested or not open_rows:
        return []
    rows = len(found.tested)
    seen = [_for_row(row, found.spread, rows) for row in open_rows]
    needed = seeds_to_resolve(TARGET, found.spread, rows)
    return [
        f"seeds that would resolve the difference seen: {', '.join(seen)}; to resolve "
        f"±{TARGET} points in every row: {_number(needed)}{_time(comparison, needed)}"
    ]


def _for_row(row: TableRow, spread: float, rows: int) -> str:
    distance = abs(row.difference.mean)
    enough = distance and seeds_to_resolve(distance, spread, rows)
    return f"{row.name} {_number(enough if enough and enough <= MANY else None)}"


def _number(seeds: int | None) -> str:
    return str(seeds) if seeds else f"more than {MANY}"


def _time(comparison: Comparison, seeds: int | None) -> str:
    """The hours of the missing seeds, from the time of the finished runs."""
    times = [[r.get("train_seconds") for r in row.records] for row in comparison.rows if row.n]
    if not seeds or any(None in row for row in times):
        return ""
    hours = sum(statistics.fmean(row) * max(0, seeds - len(row)) for row in times) / 3600
    return f", about {math.ceil(hours)} h more one after another" if hours else ""


def _equivalent(comparison: Comparison, margin: float) -> list[str]:
    rows = [r for r in comparison.rows if r.difference and r.difference.is_equivalent(margin)]
    names = _names([row.name for row in rows]) or "no row"
    return [f"no difference beyond ±{margin:g} points: {names}"]


def _all_seeds(comparison: Comparison) -> list[int]:
    return sorted({seed for row in comparison.rows for seed in row.seeds})


def _list(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def _names(names: Sequence[str]) -> str:
    return ", ".join(names)
