"""Checkpoints that are whole or not there: written aside, synced, read back, then renamed.

Two are kept. A damaged one is found by the CRC of each record, which torch itself does not check,
and the one before it is used. Loading runs no code: `weights_only=True`, always.
"""

import os
import sys
import zipfile
from pathlib import Path
from typing import Any

import torch

FORMAT = 2
NAMES = ("last.pt", "previous.pt")


def save(folder: Path, state: dict[str, Any]) -> None:
    """Make `state` the newest checkpoint of `folder`."""
    last, previous = (folder / name for name in NAMES)
    temporary = folder / "last.pt.tmp"
    try:
        with temporary.open("wb") as file:
            torch.save({"format": FORMAT, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        _verify(temporary)
        if last.exists():
            os.replace(last, previous)
        os.replace(temporary, last)
    finally:
        temporary.unlink(missing_ok=True)


def load(folder: Path) -> dict[str, Any] | None:
    """The newest checkpoint that is whole, on the CPU; None where there is none."""
    for name in NAMES:
        path = folder / name
        if not path.exists():
            continue
        try:
            return read(path)
        except Exception as error:  # torch raises five kinds of error for a damaged file
            print(f"{path} cannot be used ({error}); trying an older one", file=sys.stderr)
    return None


def read(path: Path) -> dict[str, Any]:
    """The checkpoint in `path`, or an exception if one bit of it is wrong."""
    _verify(path)
    state = torch.load(path, map_location="cpu", weights_only=True)
    if state.pop("format", None) != FORMAT:
        raise ValueError(f"not a checkpoint of format {FORMAT}")
    return state


def _verify(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged:
        raise ValueError(f"the record {damaged} is damaged")
