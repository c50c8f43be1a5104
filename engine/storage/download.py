"""Download a published file and verify it; a broken download goes on the next time.

This file imports no torch.
"""

import contextlib
import fcntl
import hashlib
import http.client
import os
import sys
import threading
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

TIMEOUT = 30  # seconds without a byte
SILENCE = 1.0  # seconds of waiting for the server until the download is announced


@dataclass(frozen=True)
class PublishedFile:
    """The address of a file, its size in bytes, and its SHA-256."""

    url: str
    size: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.url} ({self.size:,} bytes, SHA-256 {self.sha256})"

    @property
    def megabytes(self) -> str:
        return f"{self.size / 1e6:,.0f} MB"

    def is_at(self, path: Path) -> bool:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == self.sha256


def download(what: PublishedFile, path: Path) -> None:
    """Download `what` to `path`. If the connection breaks, the bytes stay in `path` + .part.

    OSError if the file cannot be reached, ValueError if the server sends another file. Of several
    processes, one downloads and the others wait.
    """
    new = not path.parent.exists()
    if path.parent.is_file():
        raise NotADirectoryError(f"{path.parent} is a file, not a folder")
    part = path.with_name(path.name + ".part")
    with _lock(part) as file:
        try:
            if not path.is_file():
                with _Notice(what, path.parent) as notice:
                    _complete(what, file, notice)
                part.replace(path)
        finally:  # still under the lock: another process may wait to go on with this file
            if part.is_file() and not part.stat().st_size:
                part.unlink()
                if new:
                    with contextlib.suppress(OSError):  # another process has its file there
                        path.parent.rmdir()


def _lock(part: Path) -> BinaryIO:
    """Open `part` at its end, as the only process.

    Whoever waited for the lock may have got a file that was meanwhile moved or removed.
    """
    while True:
        with contextlib.suppress(FileNotFoundError, FileExistsError), ExitStack() as unless_ours:
            part.parent.mkdir(parents=True, exist_ok=True)  # anew if another process removed it
            file = unless_ours.enter_context(part.open("ab"))
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(file.fileno()), part.stat()):
                file.seek(0, os.SEEK_END)  # where another process stopped
                unless_ours.pop_all()
                return file


class _Notice:
    """The line that announces a download: when the server answers, or after a second of silence.

    Where there is no network, the error comes first and alone.
    """

    def __init__(self, what: PublishedFile, folder: Path) -> None:
        self.lines = [
            f"data: downloading {Path(what.url).name}, {what.megabytes}, into {folder} "
            "(data=digits needs no download)"
        ]
        self.timer = threading.Timer(SILENCE, self.say)

    def __enter__(self) -> "_Notice":
        self.timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.timer.cancel()

    def say(self) -> None:
        """Print the line, unless it is printed."""
        while self.lines:
            tqdm.write(self.lines.pop(), file=sys.stderr)


def _complete(what: PublishedFile, file: BinaryIO, notice: _Notice) -> None:
    _fetch(what, file, notice)
    file.flush()
    if not what.is_at(Path(file.name)):
        file.truncate(0)
        raise ValueError(f"something else was sent than {what}")


def _fetch(what: PublishedFile, file: BinaryIO, notice: _Notice) -> None:
    """Append the missing bytes to `file`, over as many connections as bring new bytes."""
    name = Path(what.url).name
    with tqdm(None, name, what.size, False, unit="B", unit_scale=True, disable=None) as bar:
        while (there := file.tell()) < what.size:
            bar.update(there - bar.n)
            try:
                _receive(what, file, bar, notice)
            except (OSError, http.client.HTTPException) as error:
                if file.tell() == there:
                    raise OSError(_reason(error, there)) from error
            if file.tell() <= there:
                raise OSError(_reason(EOFError("the connection was closed"), there))


def _receive(what: PublishedFile, file: BinaryIO, bar: tqdm, notice: _Notice) -> None:
    there = file.tell()
    request = urllib.request.Request(what.url, headers={"Range": f"bytes={there}-"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        notice.say()
        if there and response.status != http.HTTPStatus.PARTIAL_CONTENT:
            file.seek(0)
            file.truncate()  # the server cannot go on from the middle
            bar.reset()
        while chunk := response.read1(1 << 18):
            file.write(chunk)
            bar.update(len(chunk))


def _reason(error: Exception, there: int) -> str:
    reason = str(getattr(error, "reason", error))
    return f"{reason}; the first {there:,} bytes are kept, to go on from" if there else reason
