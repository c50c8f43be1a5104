"""Records -> comparisons: the rows of a table with their differences, costs and published values.

Table       the content of one call of scripts/table.py
Comparison  one network under one recipe: a baseline, and the rows that are compared with it
TableRow    one attention at its place, over its seeds
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from report.dunnett import compare_rows
from report.paired import compare_pairs
from report.published import PublishedValue
from report.records import Record
from report.stats import Difference, Runs, mean_std

OF_ATTENTION = ("attn.", "sites=", "fusion.", "conv.", "norm.", "stages=")  # differs between rows
TESTS = {"dunnett": compare_rows, "paired": compare_pairs}  # by the option `test`
Spread = tuple[float, float | None]  # mean, and the standard deviation of several values


@dataclass(frozen=True)
class TableRow:
    """A named row: its finished `records`, one for each seed."""

    name: str
    records: Sequence[Record] = ()
    difference: Difference | None = None  # to the baseline, in points of top-1
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
        """Mean and deviation of a number; None if a run does not have it."""
        values = [record.get(key) for record in self.records]
        return mean_std(values) if values and None not in values else None

    @property
    def verdict(self) -> str:
        return self.difference.verdict if self.difference else ""

    @property
    def selection(self) -> float | None:
        """Mean points that a choice of each run's best epoch on the test set would add."""
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
    test: str = "dunnett"  # a key of TESTS
    measured: str = "test"  # the images of the accuracies: test, or val
    show_spread: bool = False  # each row's standard deviation gets an interval
    changed: str = ""  # options that the command line changed: another protocol than the published

    @property
    def accuracies(self) -> Runs:
        """Top-1 in % by row and seed."""
        return {row.name: row.by_seed("top1") for row in self.rows if row.n}

    def row(self, name: str) -> TableRow | None:
        return next((row for row in self.rows if row.name == name), None)


@dataclass(frozen=True)
class Table:
    """Comparisons under one title, and the remarks below them."""

    title: str
    comparisons: Sequence[Comparison]
    remarks: Sequence[str] = ()
    only_published: Sequence[PublishedValue] = ()  # of networks that the table does not run


def of_records(records: Iterable[Record]) -> list[Comparison]:
    """Any finished runs as comparisons of attentions."""
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


def by_images(comparison: Comparison, images: str) -> Comparison:
    """The comparison by the accuracy on the "test" images, or on the held-out images, "val".

    ValueError if a run held out no images.
    """
    if images == "test":
        return comparison
    rows = [replace(row, records=[_by_val(r) for r in row.records]) for row in comparison.rows]
    return replace(comparison, rows=rows, measured=images)


def _by_val(record: Record) -> Record:
    if record.get("val_top1") is None:
        raise ValueError(f"{record['path']} held out no images; train with data.val=N")
    return record | {"top1": record["val_top1"], "best_top1": None}


def judged(comparisons: Iterable[Comparison], test: str = "dunnett") -> list[Comparison]:
    """The comparisons with the difference of each row; all rows share the 5 % of the table.

    The rows are ordered: the baseline, then by accuracy, then rows without a run.
    """
    given = list(comparisons)
    found = TESTS[test]([(c.accuracies, c.baseline) for c in given])
    return [
        replace(c, test=test, rows=_ordered(c, differences))
        for c, differences in zip(given, found, strict=True)
    ]


def with_published(
    comparisons: Iterable[Comparison], values: Sequence[PublishedValue]
) -> tuple[list[Comparison], list[PublishedValue]]:
    """The published values, each at its row; and the values of networks that are not run."""
    taken: set[int] = set()

    def at(comparison: Comparison, row: TableRow) -> TableRow:
        own = (comparison.data, comparison.model, row.name)
        found = [i for i, v in enumerate(values) if (v.data, v.model, v.row) == own]
        taken.update(found)
        return replace(row, published=[values[i] for i in found])

    beside = [replace(c, rows=[at(c, row) for row in c.rows]) for c in comparisons]
    return beside, [value for i, value in enumerate(values) if i not in taken]


def _ordered(comparison: Comparison, differences: Mapping[str, Difference]) -> list[TableRow]:
    rows = [replace(row, difference=differences.get(row.name)) for row in comparison.rows]

    def order(row: TableRow) -> tuple[bool, float]:
        return row.name != comparison.baseline, -row.spread("top1")[0] if row.n else float("inf")

    return sorted(rows, key=order)
