"""Errors that are printed as one line instead of a traceback, each with its exit code.

docs/reliability.md lists the codes.
"""

import errno
import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[1]
INSTALLED = ("site-packages", "dist-packages", "<frozen", "/lib/python3")
DISK_IS_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
CUT_LIBRARY = re.compile(  # what the loader of libraries says of a file that was cut off
    r"(?P<path>/\S+\.so): (file too short|invalid ELF header|cannot read file data|"
    r"ELF load command past end of file)"
)
OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "ALLOC_FAILED")


def first_line(error: BaseException) -> str:
    """The first line of the error's message, or the name of its class without a message."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def own_frames(error: BaseException) -> list[traceback.FrameSummary]:
    """The lines outside the installed libraries that the error came through, the last one last."""
    frames = traceback.extract_tb(error.__traceback__)
    return [frame for frame in frames if not is_installed(frame.filename)]


def is_installed(file: str) -> bool:
    """Whether a source file belongs to Python or to an installed library."""
    return any(part in file for part in INSTALLED)


def place(error: BaseException) -> str:
    """`file.py:12`: the last of `own_frames`; "" if there is none."""
    own = own_frames(error)
    return f"{short(own[-1].filename)}:{own[-1].lineno}" if own else ""


def short(file: str | Path) -> str:
    """The path of a file; relative if the file is one of this project."""
    path = Path(file)
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


class RunError(Exception):
    """The run ends here; the message is one line that says why and what to do."""

    exit_code = 1


class ConfigError(RunError):
    """The run cannot start: an option, a file or a combination of them is wrong."""

    exit_code = 2


class NonFiniteError(RunError):
    """Training stopped: the loss, a weight or a statistic is NaN or infinite."""


class DataError(RunError):
    """Training stopped: an image cannot be read, or a process that reads images died."""


class ResourceError(RunError):
    """Training stopped: disk or memory ran out. The last checkpoint is intact."""

    exit_code = 3


@contextmanager
def as_config_error(what: str) -> Iterator[None]:
    """Turn errors of wrong values and missing files into ConfigError, prefixed by `what`.

    ResourceError if the disk is full.
    """
    try:
        yield
    except (OSError, ValueError, TypeError) as error:
        is_full = isinstance(error, OSError) and error.errno in DISK_IS_FULL
        raise (ResourceError if is_full else ConfigError)(f"{what}: {error}") from error


@contextmanager
def enough_memory(batch_size: int) -> Iterator[None]:
    """Turn running out of memory into ResourceError, which names the setting to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_out_of_memory(error):
            raise
        raise ResourceError(
            f"out of memory with recipe.batch_size={batch_size}: lower it (and recipe.lr in "
            "proportion), or use precision=bf16 or a smaller data.image_size "
            f"({first_line(error)})"
        ) from error


@contextmanager
def whole_compiler_cache() -> Iterator[None]:
    """Turn a cut-off library in the cache of torch's compiler into ResourceError, and remove it.

    A process that is killed while it compiles leaves such a file; each later process would fail.
    """
    try:
        yield
    except (ImportError, RuntimeError, OSError) as error:
        found = CUT_LIBRARY.search(str(error))
        if found is None:
            raise
        Path(found["path"]).unlink(missing_ok=True)
        raise ResourceError(
            f"{found['path']}, which torch compiled, was cut off when a process was killed; the "
            "file is removed now, and the same command goes on"
        ) from error


def _is_out_of_memory(error: Exception) -> bool:
    """Whether Python or torch ran out of memory; torch's error is known by name, not imported."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(words in str(error) for words in OUT_OF_MEMORY)
    )
