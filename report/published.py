"""Published numbers: the `published` section of conf/table/*.yaml -> one record per value."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

EVIDENCE = ("seen", "recalled")
CITATION = ("source", "url", "protocol", "evidence", "data")
KEYS = (*CITATION, "note", "values", "cost")


@dataclass(frozen=True)
class PublishedValue:
    """One published accuracy with its citation. A published error rate is given as accuracy.

    `evidence` is "seen" (read in the source) or "recalled" (from memory: check before quoting).
    """

    source: str
    url: str
    protocol: str
    evidence: str
    data: str
    note: str
    model: str
    row: str
    top1: float  # %
    top5: float | None = None  # %
    params: str | None = None  # as printed, in the units of the source
    macs: str | None = None  # as printed


def published(entries: Sequence[Mapping[str, Any]]) -> list[PublishedValue]:
    """All values of all entries, in order. ValueError with one line if an entry is wrong."""
    return [value for index, entry in enumerate(entries) for value in _entry(index, entry)]


def _entry(index: int, entry: Mapping[str, Any]) -> Iterator[PublishedValue]:
    where = f"published[{index}]"
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where}: expected {', '.join(KEYS)}, found {entry!r}")
    where += f" ({entry.get('source') or 'no source'})"
    _check_citation(where, entry)
    citation = {key: entry[key] for key in CITATION} | {"note": entry.get("note") or ""}
    values = _cells(f"{where}: values", entry.get("values"))
    costs = _cells(f"{where}: cost", entry.get("cost") or {})
    if stray := [key for key in costs if key not in values]:
        raise ValueError(f"{where}: cost: {' '.join(stray[0])} has no value")
    for (model, row), cell in values.items():
        top1, top5 = _accuracies(f"{where}: values: {model} {row}", cell)
        params, macs = _cost(f"{where}: cost: {model} {row}", costs.get((model, row), []))
        yield PublishedValue(
            **citation, model=model, row=row, top1=top1, top5=top5, params=params, macs=macs
        )


def _check_citation(where: str, entry: Mapping[str, Any]) -> None:
    if unknown := [key for key in entry if key not in KEYS]:
        raise ValueError(f"{where}: unknown key {unknown[0]}; there are {', '.join(KEYS)}")
    if missing := [key for key in CITATION if not entry.get(key)]:
        raise ValueError(f"{where}: {missing[0]} is missing")
    if not str(entry["url"]).startswith("https://"):
        raise ValueError(f"{where}: url={entry['url']}: expected https://...")
    if entry["evidence"] not in EVIDENCE:
        raise ValueError(f"{where}: evidence={entry['evidence']}: expected {' or '.join(EVIDENCE)}")


def _cells(where: str, table: Any) -> dict[tuple[str, str], Any]:
    """(model, row) -> cell."""
    if not isinstance(table, Mapping) or not all(isinstance(r, Mapping) for r in table.values()):
        raise ValueError(f"{where}: expected model -> row -> [...], found {table!r}")
    return {(str(model), str(row)): table[model][row] for model in table for row in table[model]}


def _accuracies(where: str, cell: Any) -> tuple[float, float | None]:
    if not isinstance(cell, list | tuple) or len(cell) not in (1, 2):
        raise ValueError(f"{where}: expected [top-1] or [top-1, top-5], found {cell!r}")
    for value in cell:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 100:
            raise ValueError(f"{where}: {value!r} is not between 0 and 100 %")
    if len(cell) == 2 and cell[1] < cell[0]:
        raise ValueError(f"{where}: top-5 {cell[1]} is below top-1 {cell[0]}")
    return cell[0], cell[1] if len(cell) == 2 else None


def _cost(where: str, cell: Any) -> tuple[str | None, str | None]:
    words = isinstance(cell, list | tuple) and all(isinstance(word, str) for word in cell)
    if not words or len(cell) > 2:
        raise ValueError(f"{where}: expected [params, MACs] as printed, in quotes, found {cell!r}")
    params, macs = (*cell, None, None)[:2]
    return params, macs
