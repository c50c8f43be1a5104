"""Errors that are told in one line instead of a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager


class Refused(Exception):
    """The run cannot start; the message is one line that says why and what to do."""

    exit_code = 2


class Diverged(Refused):
    """The run cannot go on: its loss is no number any more."""

    exit_code = 1


class DataLost(Refused):
    """The run cannot go on: an image cannot be read, or a process that reads images is gone."""

    exit_code = 1


@contextmanager
def refusing(what: str) -> Iterator[None]:
    """Turn the errors that wrong values and missing files raise into Refused."""
    try:
        yield
    except (OSError, ValueError, TypeError) as error:
        raise Refused(f"{what}: {error}") from error
