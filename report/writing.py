"""Write the files of a table: a file is whole or absent, and two commands may write at once.

`engine.storage.atomic` does the same for the files of runs; the two packages do not import each
other.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file to write to, which replaces `path` in one step; OSError with the path if it cannot."""
    new = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with new.open("wb") as file:
            yield file
        os.replace(new, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        new.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replace `path` in one step: a reader sees the old text or the new one."""
    with replacing(path) as file:
        file.write(text.encode())
