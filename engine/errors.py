"""Errors that are told in one line instead of a traceback, and the exit code that goes with each.

docs/reliability.md lists the codes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

OUT_OF_MEMORY = ("can't allocate memory", "not enough memory", "ALLOC_FAILED")


class Refused(Exception):
    """The run cannot start; the message is one line that says why and what to do."""

    exit_code = 2


class Diverged(Refused):
    """The run cannot go on: its loss is no number any more."""

    exit_code = 1


class DataLost(Refused):
    """The run cannot go on: an image cannot be read, or a process that reads images is gone."""

    exit_code = 1


class Stopped(Refused):
    """The machine cannot go on, for want of disk or memory; the last checkpoint stands."""

    exit_code = 3


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn the errors that wrong values and missing files raise into Refused."""
    try:
        yield
    except (OSError, ValueError, TypeError) as error:
        raise Refused(f"{what}: {error}") from error


@contextmanager
def enough_memory(batch_size: int) -> Iterator[None]:
    """Turn running out of memory into Stopped, which names the setting to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _of_memory(error):
            raise
        raise Stopped(
            f"out of memory with recipe.batch_size={batch_size}: lower it (and recipe.lr in "
            "proportion), or use precision=bf16 or a smaller data.image_size "
            f"({str(error).strip().partition(chr(10))[0]})"
        ) from error


def _of_memory(error: Exception) -> bool:
    """Whether it is Python's, or torch's: known by its name, for torch is not imported here."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(words in str(error) for words in OUT_OF_MEMORY)
    )
