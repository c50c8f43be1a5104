"""A table as Markdown, which also reads well on a terminal, and as CSV."""

import csv
import io
import re
from collections.abc import Iterator, Sequence

from report.cells import TableBlock, blocks, elsewhere
from report.headline import headline
from report.recommendation import recommendation
from report.table import Comparison, Table, TableRow

CSV_HEADER = (
    "comparison", "data", "model", "attn", "n", "seeds", "top1_mean", "top1_std", "difference",
    "ci_low", "ci_high", "p", "resolvable", "verdict", "best_top1_mean", "selection", "top5_mean",
    "params", "macs", "elements", "train_ratio", "infer_ratio", "memory_ratio",
    "train_images_per_second", "infer_images_per_second",
)  # fmt: skip


def markdown(table: Table) -> str:
    """The whole table: each comparison in its parts, and the remarks."""
    parts = [f"# {escape(table.title)}"]
    for comparison in table.comparisons:
        parts += map(escape, filter(None, [f"## {comparison.title}", headline(comparison)]))
        parts += [_block(block) for block in blocks(comparison)]
        parts += map(escape, filter(None, [recommendation(comparison)]))
    if table.only_published:
        parts.append(_block(elsewhere(table.only_published)))
    if table.remarks:
        parts.append("\n".join(f"- {escape(remark)}" for remark in table.remarks))
    return "\n\n".join(parts) + "\n"


def render(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """One Markdown table, its columns aligned."""
    lines = [[escape(cell).replace("|", "\\|") for cell in line] for line in (header, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        "| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |"
        for line in lines
    )


def escape(text: str) -> str:
    """`text` on one line, with no HTML: a `<` before a name would begin a tag."""
    return re.sub(r"<(?=[A-Za-z/!?])", r"\\<", " ".join(text.split()))


def spreadsheet(table: Table) -> str:
    """CSV: one line for each row, numbers in full."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(CSV_HEADER)
    for comparison in table.comparisons:
        writer.writerows(map(cell, _numbers(comparison, row)) for row in comparison.rows)
    return out.getvalue()


def _block(block: TableBlock) -> str:
    notes = "".join(f"\n\n{note}" for note in block.notes)
    return f"{block.heading}:\n\n{render(block.header, block.rows)}{notes}"


def cell(value: object) -> object:
    """A text that a spreadsheet would take for a formula gets an apostrophe."""
    is_formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@"))
    return f"'{value}" if is_formula else value


def _numbers(comparison: Comparison, row: TableRow) -> Iterator[object]:
    top1, best, top5 = (row.spread(key) or (None, None) for key in ("top1", "best_top1", "top5"))
    yield from (comparison.title, comparison.data, comparison.model, row.name, row.n)
    yield " ".join(map(str, row.seeds))
    yield from top1
    found = row.difference
    for key in ("mean", "low", "high", "p", "resolvable"):
        yield getattr(found, key) if found else None
    yield from (row.verdict, best[0], row.selection, top5[0])
    yield from (row.records[0][key] if row.n else None for key in ("params", "macs", "elements"))
    yield from (row.cost[key]["time_ratio"] if row.cost else None for key in ("train", "infer"))
    yield row.cost["memory_ratio"] if row.cost else None
    yield from (
        row.cost[key]["images_per_second"] if row.cost else None for key in ("train", "infer")
    )
