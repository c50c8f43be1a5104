"""Download a published file and verify it; a broken download goes on the next time."""

import contextlib
import fcntl
import hashlib
import http.client
import os
import urllib.error
import urllib.request
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tqdm import tqdm

TIMEOUT = 30  # seconds without a byte


@dataclass(frozen=True)
class PublishedFile:
    """The address of a file, its size in bytes, and its SHA-256."""

    url: str
    size: int
    sha256: str

    def __str__(self) -> str:
        return f"{self.url} ({self.size:,} bytes, SHA-256 {self.sha256})"

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
                _complete(what, file)
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


def _complete(what: PublishedFile, file: BinaryIO) -> None:
    _fetch(what, file)
    file.flush()
    if not what.is_at(Path(file.name)):
        file.truncate(0)
        raise ValueError(f"something else was sent than {what}")


def _fetch(what: PublishedFile, file: BinaryIO) -> None:
    """Append the missing bytes to `file`, over as many connections as bring new bytes."""
    name = Path(what.url).name
    with tqdm(None, name, what.size, False, unit="B", unit_scale=True, disable=None) as bar:
        while (there := file.tell()) < what.size:
            bar.update(there - bar.n)
            try:
                _receive(what, file, bar)
            except (OSError, http.client.HTTPException) as error:
                if file.tell() == there:
                    raise OSError(_reason(error, there)) from error
            if file.tell() <= there:
                raise OSError(_reason(EOFError("the connection was closed"), there))


def _receive(what: PublishedFile, file: BinaryIO, bar: tqdm) -> None:
    there = file.tell()
    request = urllib.request.Request(what.url, headers={"Range": f"bytes={there}-"})
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
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
