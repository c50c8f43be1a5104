"""Runs on disk -> records, and the directories that give none, each with its reason."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Record = dict[str, Any]
NEEDED: dict[str, type | tuple[type, ...]] = {  # what a result.json must hold to be compared
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
SAME = "the same run as"
ANOTHER = "of another configuration, but of the same name and seed as"


@dataclass
class Collected:
    """The records of finished runs, each with its directory under "path", and what is left out."""

    records: list[Record] = field(default_factory=list)
    left_out: dict[Path, str] = field(default_factory=dict)


def collect(root: Path) -> Collected:
    """Every run below `root`, in the order of the paths; of two at one name and seed, the first."""
    found, seen = Collected(), {}
    files = [file for name in ("config.yaml", "result.json") for file in root.rglob(name)]
    for folder in sorted({file.parent for file in files}):
        record, reason = read(folder)
        if record is None:
            found.left_out[folder] = reason
        elif first := seen.get(name := tuple(record[label] for label in LABELS)):
            same = record["config"] == first["config"]
            found.left_out[folder] = f"{SAME if same else ANOTHER} {first['path']}"
        else:
            seen[name] = record
            found.records.append(record)
    return found


def read(folder: Path) -> tuple[Record | None, str]:
    """The record of the run in `folder`, or None and why it has none that can be compared."""
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None, f"unfinished, {epochs_done(folder)} epochs done"
    except (OSError, ValueError) as error:
        return None, f"its result.json cannot be read ({error})"
    if not isinstance(result, dict) or "top1" not in result or "model" not in result:
        return None, "its result.json is not one of this program"
    wrong = [key for key, kind in NEEDED.items() if not _is(result.get(key), kind)]
    if wrong:
        return None, f"its result.json lacks {', '.join(wrong)}: another version wrote it"
    return result | {"path": folder}, ""


def epochs_done(folder: Path) -> int:
    """How many epochs are in the log of a run."""
    try:
        return (folder / "metrics.jsonl").read_bytes().count(b"\n")
    except OSError:
        return 0


def _is(value: Any, kind: type | tuple[type, ...]) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)
