"""Records -> comparisons: each row of a table with what its seeds say, its cost, what was printed.

Table       what one call of scripts/table.py shows
Comparison  one network under one recipe: a baseline and the rows that are held against it
TableRow         one attention in its place, over its seeds
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from report.published import PublishedValue
from report.records import Record
from report.stats import Difference, difference, holm, mean_std, paired, verdict

OF_ATTENTION = ("attn.", "sites=", "fusion.", "conv.", "norm.", "stages=")  # varies within a table
Spread = tuple[float, float | None]  # mean, and standard deviation where there are several


@dataclass(frozen=True)
class TableRow:
    """A named row: its finished `records`, one for each of their seeds."""

    name: str
    records: Sequence[Record] = ()
    difference: Difference | None = None  # to the baseline, in points of top-1
    p: float | None = None  # of that difference, after Holm over the whole table
    tests: int = 0  # how many differences of the table were tested
    published: Sequence[PublishedValue] = ()
    cost: Mapping[str, Any] | None = None  # from the interleaved benchmark

    @property
    def n(self) -> int:
        return len(self.records)

    @property
    def seeds(self) -> list[int]:
        return sorted(record["seed"] for record in self.records)

    def by_seed(self, key: str) -> dict[int, float]:
        return {record["seed"]: record[key] for record in self.records}

    def spread(self, key: str) -> Spread | None:
        """Mean and deviation of a number that every run has; None where one lacks it."""
        values = [record.get(key) for record in self.records]
        return mean_std(values) if values and None not in values else None

    @property
    def verdict(self) -> str:
        return verdict(self.difference.mean, self.p) if self.difference else ""

    @property
    def resolvable(self) -> float | None:
        return self.difference.resolvable(self.tests) if self.difference and self.tests else None

    @property
    def selection(self) -> float | None:
        """Points that choosing each run's best epoch on the test set adds, on average."""
        best = self.spread("best_top1")
        return best[0] - self.spread("top1")[0] if best else None


@dataclass(frozen=True)
class Comparison:
    """The rows of one network on one data set under one recipe, the baseline among them."""

    title: str
    data: str
    model: str
    rows: Sequence[TableRow]
    baseline: str = "none"

    def row(self, name: str) -> TableRow | None:
        return next((row for row in self.rows if row.name == name), None)


@dataclass(frozen=True)
class Table:
    """Comparisons under one title, and what is to be said below them."""

    title: str
    comparisons: Sequence[Comparison]
    remarks: Sequence[str] = ()
    only_published: Sequence[PublishedValue] = field(
        default=()
    )  # of what the table itself does not run


def of_records(records: Iterable[Record]) -> list[Comparison]:
    """Finished runs, whatever they are, as comparisons of attentions."""
    groups: dict[tuple[str, ...], dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        options = [option for option in record["other"].split(",") if option]
        of_attn = [option for option in options if option.startswith(OF_ATTENTION)]
        shared = [option for option in options if option not in of_attn]
        key = (record["data"], record["model"], f"recipe {record['recipe']}", *shared)
        groups[key][" ".join([record["attn"], *of_attn])].append(record)
    return [
        Comparison(", ".join(key), key[0], key[1], [TableRow(*row) for row in rows.items()])
        for key, rows in groups.items()
    ]


def judged(comparisons: Iterable[Comparison]) -> list[Comparison]:
    """The same with every row held against its baseline; all tests together are one family."""
    differing = [replace(c, rows=_ordered(c)) for c in comparisons]
    rows = [row for comparison in differing for row in comparison.rows]
    adjusted = holm([row.difference and row.difference.p for row in rows])
    tests = sum(p is not None for p in adjusted)
    after = iter(adjusted)
    return [
        replace(c, rows=[replace(row, p=next(after), tests=tests) for row in c.rows])
        for c in differing
    ]


def with_published(
    comparisons: Iterable[Comparison], values: Sequence[PublishedValue]
) -> tuple[list[Comparison], list[PublishedValue]]:
    """Each published value at its row; and those of which nothing is run here."""
    taken: set[int] = set()

    def at(comparison: Comparison, row: TableRow) -> TableRow:
        own = (comparison.data, comparison.model, row.name)
        found = [i for i, v in enumerate(values) if (v.data, v.model, v.row) == own]
        taken.update(found)
        return replace(row, published=[values[i] for i in found])

    beside = [replace(c, rows=[at(c, row) for row in c.rows]) for c in comparisons]
    return beside, [value for i, value in enumerate(values) if i not in taken]


def remarks(comparison: Comparison, seeds: Sequence[int] | None = None) -> list[str]:
    """What a reader must know of the seeds: which are missing, and what that means for pairs."""
    baseline = comparison.row(comparison.baseline)
    if not any(row.n for row in comparison.rows):
        return ["no finished run yet"]
    said = []
    if baseline is None or not baseline.n:
        said.append(f"no finished run of {comparison.baseline}, so nothing to compare with")
    wanted = seeds if seeds is not None else _common(comparison)
    for row in comparison.rows:
        if missing := sorted(set(wanted) - set(row.seeds)):
            have = f"only seeds {_list(row.seeds)}" if row.n else "no finished run"
            said.append(f"{row.name}: {have}; missing {_list(missing)}")
    return said


def _common(comparison: Comparison) -> list[int]:
    return sorted({seed for row in comparison.rows for seed in row.seeds})


def _list(seeds: Sequence[int]) -> str:
    return ", ".join(map(str, seeds))


def _ordered(comparison: Comparison) -> list[TableRow]:
    """Rows with their differences: the baseline, then by the mean, then those without a run."""
    baseline = comparison.row(comparison.baseline)
    base = baseline.by_seed("top1") if baseline else {}

    def differing(row: TableRow) -> TableRow:
        pairs = paired(row.by_seed("top1"), base) if row.name != comparison.baseline else []
        return replace(row, difference=difference(pairs) if pairs else None)

    def order(row: TableRow) -> tuple[bool, float]:
        return row.name != comparison.baseline, -row.spread("top1")[0] if row.n else float("inf")

    return sorted(map(differing, comparison.rows), key=order)
