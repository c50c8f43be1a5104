"""Runs on disk -> records."""

import json
from pathlib import Path
from typing import Any

Record = dict[str, Any]


def collect(root: Path) -> list[Record]:
    """The result of every finished run below `root`, in the order of their paths."""
    files = sorted(root.rglob("result.json"))
    return [json.loads(file.read_text(encoding="utf-8")) for file in files]


def unfinished(root: Path) -> list[Path]:
    """The directories below `root` where a run was begun and has no result yet."""
    begun = sorted(file.parent for file in root.rglob("config.yaml"))
    return [folder for folder in begun if not (folder / "result.json").exists()]
