"""What a terminal, a pipe or a file can take of our output."""

import codecs
import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

ASCII = {"±": "+-", "×": "x", "−": "-", "·": "*", "²": "^2", "…": "...", "→": "->", "≥": ">="}
LOST = (errno.ENOSPC, errno.EIO, errno.EDQUOT)


def use_ascii_signs_where_needed() -> None:
    """Print a sign that the terminal's encoding lacks in ASCII, instead of raising an error."""
    codecs.register_error("ascii-signs", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a test may have put another object there
            stream.reconfigure(errors="ascii-signs")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lost = error.object[error.start : error.end]
    return "".join(ASCII.get(sign, "?") for sign in lost), error.end


def printable(text: str) -> str:
    """`text` on one line; a line break or a code for the terminal is shown as Python writes it."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


@contextmanager
def written_out() -> Iterator[None]:
    """A context at whose end all that was printed is written.

    The process ends with exit code 3 if the output cannot be written, as on a full disk, and with
    141 if the reader of the output has ended, as in `--help | head`.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        os._exit(141)
    except OSError as error:
        if error.errno not in LOST or error.filename is not None:
            raise
        print(f"the output cannot be written: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(3)  # the usual end would try again to write the output
