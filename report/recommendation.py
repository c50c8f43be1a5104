"""What to take, in one line: the answer of a comparison to a reader who has to choose."""

from collections.abc import Sequence

from report.cells import is_noise
from report.dunnett import fit, seeds_to_resolve
from report.remarks import MANY
from report.table import Comparison, TableRow


def recommendation(comparison: Comparison) -> str:
    """The row to take, or the baseline, or that the runs do not tell; "" without any difference.

    Only a resolved gain is recommended. The candidates are the gain whose interval ends highest,
    and the gains whose intervals overlap that interval: the runs do not tell the candidates apart,
    so the cheapest one is taken. Without a gain, the baseline stays the choice if a row loses, and
    the line says which gain the intervals still allow. If no row is resolved, there is no answer.
    """
    rows = [row for row in comparison.rows if row.difference]
    if not rows:
        return ""
    epochs = rows[0].records[0]["epochs"]
    budget = f"At {epochs} epoch{'s' if epochs != 1 else ''}"
    if gains := [row for row in rows if row.verdict == "gain"]:
        return f"{budget}, {_take(gains, comparison)}"
    if all(row.verdict == "loss" for row in rows):
        return f"{budget}, keep {comparison.baseline}: every other row loses."
    if all(row.difference.p is None for row in rows):
        return "No answer yet: these runs allow no test; train more seeds."
    if any(row.verdict == "loss" for row in rows):
        answer = f"{budget}, keep {comparison.baseline}: no row gains"
    else:
        answer = "No answer yet: no difference is resolved"
    return f"{answer}, {_allowed(rows)}.{_more_seeds(rows, comparison)}"


def _take(gains: Sequence[TableRow], comparison: Comparison) -> str:
    best = max(gains, key=lambda row: row.difference.high)
    candidates = [row for row in gains if row.difference.high >= best.difference.low]
    timed = all(row.cost and not is_noise(row.cost["train"]) for row in candidates)
    taken = min(candidates, key=_train_time if timed else _counted)
    found, base = taken.difference, comparison.row(comparison.baseline)
    cost = (
        f"{_train_time(taken):.2f}× the training time"
        if timed
        else f"{taken.records[0]['macs'] / base.records[0]['macs']:.2f}× the MACs"
    )
    others = ", ".join(row.name for row in candidates if row is not taken)
    choice = f" The runs do not tell {taken.name} from {others}; {taken.name} is the cheapest."
    return (
        f"take {taken.name}: the gain is {found.mean:.1f} points "
        f"({found.low:.1f} to {found.high:.1f}) for {cost}.{choice if others else ''}"
    )


def _train_time(row: TableRow) -> float:
    """The median of the time of a training step, relative to the baseline."""
    return row.cost["train"]["time_ratio"]


def _counted(row: TableRow) -> tuple[int, int]:
    return row.records[0]["macs"], row.records[0]["params"]


def _allowed(rows: Sequence[TableRow]) -> str:
    """The largest gain inside an interval: no tested row gains more."""
    tested = [row for row in rows if row.difference.high is not None]
    widest = max(tested, key=lambda row: row.difference.high)
    return f"and a gain above {widest.difference.high:.1f} points is ruled out"


def _more_seeds(rows: Sequence[TableRow], comparison: Comparison) -> str:
    """How many seeds would resolve the largest difference that may still become a gain."""
    found = fit(comparison.accuracies, comparison.baseline)
    open_rows = [row for row in rows if row.verdict == "not resolved" and row.difference.mean > 0]
    if comparison.test != "dunnett" or not open_rows:
        return ""
    row = max(open_rows, key=lambda row: row.difference.mean)
    enough = seeds_to_resolve(row.difference.mean, found.spread, len(found.tested))
    if enough is None or enough > MANY:
        return ""
    points = f"the {row.difference.mean:.1f} points of {row.name}"
    return f" If {points} are real, {max(enough, row.n + 1)} seeds resolve them."
