"""Records -> one table for each comparison: the attentions of one network under one recipe."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from report.collect import Record
from report.stats import mean_std, paired

HEADER = ("attn", "top-1 %", "n", "vs none", "params", "MACs", "images/s")
OF_ATTENTION = ("attn.", "sites=", "fusion.", "conv.", "norm.")  # what varies within a table
Key = tuple[str, ...]


def comparisons(records: Iterable[Record]) -> dict[str, list[tuple[str, ...]]]:
    """Title -> rows under HEADER, the baseline first, then by top-1."""
    groups: dict[Key, dict[str, list[Record]]] = defaultdict(lambda: defaultdict(list))
    for record in records:
        options = [option for option in record["other"].split(",") if option]
        of_attn = [option for option in options if option.startswith(OF_ATTENTION)]
        shared = [option for option in options if option not in of_attn]
        title = (record["data"], record["model"], f"recipe {record['recipe']}", *shared)
        groups[title][" ".join([record["attn"], *of_attn])].append(record)
    return {", ".join(title): _rows(variants) for title, variants in groups.items()}


def render(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table that also reads well on a terminal."""
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = [header, ["-" * width for width in widths], *rows]
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def _rows(variants: dict[str, list[Record]]) -> list[tuple[str, ...]]:
    baseline = {record["seed"]: record["top1"] for record in variants.get("none", [])}

    def order(item: tuple[str, list[Record]]) -> tuple[bool, float]:
        name, records = item
        return name != "none", -mean_std([record["top1"] for record in records])[0]

    rows = sorted(variants.items(), key=order)
    return [_row(name, records, baseline) for name, records in rows]


def _row(name: str, records: list[Record], baseline: dict[int, float]) -> tuple[str, ...]:
    top1 = {record["seed"]: record["top1"] for record in records}
    differences = paired(top1, baseline)
    return (
        name,
        _plus_minus(list(top1.values()), ".2f"),
        str(len(top1)),
        _plus_minus(differences, "+.2f") if differences and name != "none" else "",
        f"{records[0]['params']:,}",
        f"{records[0]['macs'] / 1e6:,.1f} M",
        f"{mean_std([record['images_per_second'] for record in records])[0]:,.0f}",
    )


def _plus_minus(values: Sequence[float], form: str) -> str:
    mean, deviation = mean_std(values)
    return f"{mean:{form}}" + (f" ± {deviation:.2f}" if deviation is not None else "")
