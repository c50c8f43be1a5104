"""The finding of a comparison in one sentence."""

from collections.abc import Sequence

from report.table import Comparison, TableRow


def headline(comparison: Comparison) -> str:
    """The rows that gain, that lose, and that cannot be told from the baseline; "" without any."""
    rows = [row for row in comparison.rows if row.difference]
    if not rows:
        return ""
    by_verdict = {
        word: [row for row in rows if row.verdict == word]
        for word in ("gain", "loss", "not resolved")
    }
    parts = [
        f"{_names(found)} {verb}{'s' if len(found) == 1 else ''} {_points(found)} points"
        for word, verb in (("gain", "gain"), ("loss", "lose"))
        if (found := by_verdict[word])
    ]
    if unresolved := by_verdict["not resolved"]:
        parts.append(f"{_names(unresolved)} cannot be told from {comparison.baseline}")
    sentence = f"{_seeds(comparison)}, {'; '.join(parts)}"
    limit = max((row.difference.resolvable or 0 for row in unresolved), default=0)
    return (
        f"{sentence} (a difference below {limit:.1f} is not resolved)." if limit else f"{sentence}."
    )


def _seeds(comparison: Comparison) -> str:
    counts = sorted({row.n for row in comparison.rows if row.n})
    few, many = counts[0], counts[-1]
    return (
        f"With {few} seed{'s' if few > 1 else ''}" if few == many else f"With {few} to {many} seeds"
    )


def _points(rows: Sequence[TableRow]) -> str:
    sizes = sorted(abs(row.difference.mean) for row in rows)
    low, high = f"{sizes[0]:.1f}", f"{sizes[-1]:.1f}"
    return low if low == high else f"{low} to {high}"


def _names(rows: Sequence[TableRow]) -> str:
    *first, last = [row.name for row in rows]
    return f"{', '.join(first)} and {last}" if first else last
