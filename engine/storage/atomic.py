"""Write files that are whole or not there; an error of the disk is told in one line."""

import errno
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from engine.errors import ConfigError, ResourceError, first_line
from engine.storage.strict import parse_json, read_text

UNFINISHED = ".tmp"  # the ending of a file that a killed process leaves
NO_FSYNC_OF_FOLDERS = (errno.EINVAL, errno.ENOTSUP)  # some network file systems


@contextmanager
def replacing(
    path: Path, check: Callable[[Path], None] = lambda new: None, keep: Path | None = None
) -> Iterator[IO[bytes]]:
    """A file to write to. It replaces `path` in one step when all its bytes are on disk.

    `check` reads the new file back, and may raise, before it does; the old one goes to `keep`.
    Two processes may replace the same file.
    """
    new = path.with_name(f"{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        with writing(new):
            with new.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            check(new)
            if keep:
                os.replace(path, keep)
            os.replace(new, path)
            _sync_folder(path.parent)
    finally:
        with suppress(OSError):
            new.unlink()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an error of the disk into ResourceError, which names the path and the bytes."""
    try:
        yield
    except (OSError, RuntimeError) as error:  # torch's writer hides the OSError behind its own
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):
            raise
        written = path.stat().st_size if path.is_file() else 0
        raise ResourceError(
            f"{path} cannot be written: {cause.strerror or cause}, after {written:,} bytes "
            f"({_free(path)} bytes are free there); mend that, and the same command goes on"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Replace `path` in one step: a reader sees the old text or the new one."""
    with replacing(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=2) + "\n")


def read_json(path: Path) -> Any:
    """The contents of a JSON file; None if there is no file, ConfigError if it is not JSON."""
    try:
        return parse_json(read_text(path))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path} cannot be read ({first_line(error)}); remove it, or restore it"
        ) from error


def require_space(folder: Path, needed: int) -> None:
    """ConfigError if fewer than `needed` bytes are free in `folder`."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise ConfigError(
            f"{folder}: {free:,} bytes are free, and this run writes at least {needed:,}; "
            "make room, or choose another out=..."
        )


def _free(path: Path) -> str:
    try:
        return f"{shutil.disk_usage(path.parent).free:,}"
    except OSError:
        return "unknown"


def _sync_folder(folder: Path) -> None:
    """Put the names of the files in `folder` on disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in NO_FSYNC_OF_FOLDERS:
            raise
    finally:
        os.close(descriptor)
