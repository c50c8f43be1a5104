"""Runs on disk -> records, and the directories without a usable record, each with the reason."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from report.reading import parse_json, read_text

Record = dict[str, Any]
NAMES = ("data", "model", "attn", "recipe")
COUNTS = ("epochs", "params", "macs", "elements")
PERCENT = ("top1", "top5")
OPTIONAL_PERCENT = ("best_top1", "val_top1")
OPTIONAL_NUMBERS = ("train_seconds", "images_per_second", "peak_memory_mb")
LONGEST = 1000  # characters of a name
LABELS = ("data", "model", "attn", "recipe", "other", "seed")
DUPLICATE = "the same run as"
DISAGREES = "the same run with another result"
CONFLICT = "another configuration with the same name and seed as"
OTHER_DATA = "other data with the same name and seed as"


@dataclass
class Collected:
    """Records of finished runs, each with its directory as "path"; `left_out`: folder -> reason."""

    records: list[Record] = field(default_factory=list)
    left_out: dict[Path, str] = field(default_factory=dict)


def collect(*roots: Path) -> Collected:
    """All runs below the `roots`, in path order. Of two runs with one name and seed, the first."""
    found, seen = Collected(), {}
    for folder in (folder for root in roots for folder in sorted(_run_folders(root))):
        record, reason = read_record(folder)
        if record is None:
            found.left_out[folder] = reason
        elif first := seen.get(name := tuple(record[label] for label in LABELS)):
            found.left_out[folder] = _beside(record, first)
        else:
            seen[name] = record
            found.records.append(record)
    return found


def _beside(record: Record, first: Record) -> str:
    """What a second run with the name and the seed of the `first` one is."""
    if record["config"] != first["config"]:
        return f"{CONFLICT} {first['path']}"
    if len({record.get("data_digest"), first.get("data_digest")} - {None}) > 1:
        return f"{OTHER_DATA} {first['path']}"
    if record["top1"] != first["top1"]:
        return f"{DISAGREES}, {record['top1']:.2f} %, not {first['top1']:.2f} %: {first['path']}"
    return f"{DUPLICATE} {first['path']}"


def _run_folders(root: Path) -> Iterator[Path]:
    """The folders below `root` that hold a run. Links are followed; each folder comes once."""
    seen = set()
    for folder, below, files in os.walk(root, followlinks=True):
        found = os.stat(folder)
        if (found.st_dev, found.st_ino) in seen:
            below.clear()
            continue
        seen.add((found.st_dev, found.st_ino))
        below.sort()
        if {"config.yaml", "result.json"} & {*files}:
            yield Path(folder)


def read_record(folder: Path) -> tuple[Record | None, str]:
    """The record of the run in `folder` and ''; or None and the reason."""
    try:
        result = parse_json(read_text(folder / "result.json"))
    except FileNotFoundError:
        return None, f"unfinished, {epochs_done(folder)} epochs done"
    except (OSError, ValueError) as error:
        return None, f"its result.json cannot be read ({error})"
    if not isinstance(result, dict) or "top1" not in result or "model" not in result:
        return None, "its result.json was not written by this program"
    if wrong := [key for key, right in _fields(result) if not right]:
        return None, f"its result.json has no usable {', '.join(wrong)}: another version wrote it"
    return result | {"path": folder}, ""


def epochs_done(folder: Path) -> int:
    """Number of epochs in the log of the run in `folder`; 0 without a log that can be read."""
    try:
        return read_text(folder / "metrics.jsonl").count("\n")
    except (OSError, ValueError):
        return 0


def _fields(result: Record) -> Iterator[tuple[str, bool]]:
    """(field, whether its value can be used) of each field that a comparison reads."""
    yield from ((key, _is_name(result.get(key)) and result[key] != "") for key in NAMES)
    yield from ((key, _is_name(result.get(key))) for key in ("other", "config"))
    yield "seed", _is_count(result.get("seed"))
    yield from ((key, _is_count(result.get(key))) for key in COUNTS)
    yield from ((key, _is_number(result.get(key), 100)) for key in PERCENT)
    known = {*NAMES, "other", "config"}
    yield from ((k, _is_name(v)) for k, v in result.items() if k not in known and type(v) is str)
    optional = [(key, 100) for key in OPTIONAL_PERCENT] + [(key, 1e15) for key in OPTIONAL_NUMBERS]
    for key, most in optional:
        yield key, result.get(key) is None or _is_number(result[key], most)


def _is_name(value: Any) -> bool:
    """Text that can be printed: no control character, no half of a character."""
    return isinstance(value, str) and len(value) <= LONGEST and (value.isprintable() or not value)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**63


def _is_number(value: Any, most: float) -> bool:
    return type(value) in (int, float) and 0 <= value <= most
