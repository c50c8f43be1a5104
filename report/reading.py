"""Read the files of runs, which a stranger may have written: nothing waits, nothing is huge.

`engine.storage.strict` does the same for the files that training reads; the two packages do not
import each other.
"""

import json
import os
import stat
from pathlib import Path
from typing import Any

LARGEST = 64 * 2**20  # bytes


def read_text(path: Path) -> str:
    """The text of a regular file in UTF-8; ValueError for anything else, OSError if it is lost."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise ValueError("it is no regular file")
    with open(descriptor, "rb") as file:
        if status.st_size > LARGEST:
            raise ValueError(f"it has {status.st_size:,} bytes; more than {LARGEST:,} are not read")
        return file.read().decode()


def parse_json(text: str) -> Any:
    """The value of a JSON text; ValueError if it is none, or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
