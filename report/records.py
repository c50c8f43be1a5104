"""Runs on disk -> records, and the directories without a usable record, each with the reason."""

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Record = dict[str, Any]
REQUIRED: dict[str, type | tuple[type, ...]] = {  # fields of result.json that a comparison needs
    "data": str,
    "model": str,
    "attn": str,
    "recipe": str,
    "other": str,
    "seed": int,
    "epochs": int,
    "top1": (int, float),
    "top5": (int, float),
    "params": int,
    "macs": int,
    "elements": int,
    "config": str,
}
LABELS = ("data", "model", "attn", "recipe", "other", "seed")
DUPLICATE = "the same run as"
CONFLICT = "another configuration with the same name and seed as"


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
            same = record["config"] == first["config"]
            found.left_out[folder] = f"{DUPLICATE if same else CONFLICT} {first['path']}"
        else:
            seen[name] = record
            found.records.append(record)
    return found


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
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None, f"unfinished, {epochs_done(folder)} epochs done"
    except (OSError, ValueError) as error:
        return None, f"its result.json cannot be read ({error})"
    if not isinstance(result, dict) or "top1" not in result or "model" not in result:
        return None, "its result.json was not written by this program"
    wrong = [key for key, kind in REQUIRED.items() if not _is(result.get(key), kind)]
    if wrong:
        return None, f"its result.json has no usable {', '.join(wrong)}: another version wrote it"
    return result | {"path": folder}, ""


def epochs_done(folder: Path) -> int:
    """Number of epochs in the log of the run in `folder`; 0 without a log."""
    try:
        return (folder / "metrics.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
