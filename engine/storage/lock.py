"""One process at a time in a directory, on one machine or on several.

The lock is the kernel's (flock), so it ends with its holder, however that ends; the file `lock`
says who that is. Not every network file system tells other machines of a flock. The holder
therefore renews the file's time now and then, and a lock that another machine left is watched for
a while before it is taken over.
"""

import errno
import fcntl
import os
import re
import socket
import stat
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from engine.errors import ConfigError

BEAT = 5.0  # seconds between two renewals
WATCH = 20.0  # seconds for which the lock of another machine is watched
LINGER = 15.0  # seconds that a killed process's children may hold on to its lock
ATTEMPTS = 50  # to find the folder: another process may be removing it


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make `folder` and hold its lock; ConfigError if another process holds the lock."""
    with _taken(folder / "lock") as lock:
        done = threading.Event()
        beat = threading.Thread(target=_renew, args=(lock, done), daemon=True)
        beat.start()
        try:
            yield
        finally:
            done.set()
            beat.join()
            with suppress(OSError):
                (folder / "lock").unlink()


def _taken(path: Path) -> IO[str]:
    """The open lock file, held by this process, with the name of this process in it."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = open(path, "a+", opener=_open_here)  # noqa: SIM115 - the caller closes it
        except FileNotFoundError:
            if attempt == ATTEMPTS:
                raise
            continue
        try:
            _flock(lock, path)
            if _is_at(lock, path):
                _watch(lock, path)
                _sign(lock, path)
                return lock
        except BaseException:
            lock.close()
            raise
        lock.close()  # the process before removed the file when it ended
    raise ConfigError(f"{path.parent} is taken and left by other processes all the time; try again")


def _open_here(path: str, flags: int) -> int:
    """Open a regular file; ConfigError for a link or a device: a run writes in its folder alone."""
    try:
        found = os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise ConfigError(f"{path} is a link; remove it") from error
    if not stat.S_ISREG(os.fstat(found).st_mode):
        os.close(found)
        raise ConfigError(f"{path} is no regular file; remove it")
    return found


def _is_at(lock: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(lock.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _flock(lock: IO[str], path: Path) -> None:
    until = time.monotonic() + LINGER
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = _holder(lock)
            if time.monotonic() > until or (holder and not _died_here(holder)):
                raise ConfigError(
                    f"{path.parent} is in use by {holder or 'another process'}; "
                    "wait for it, or end it"
                ) from error
        time.sleep(0.05)


def _watch(lock: IO[str], path: Path) -> None:
    """ConfigError if the lock is of another machine, and that machine still renews it."""
    holder = _holder(lock)
    if not holder or holder.endswith(f" on {socket.gethostname()}"):
        return
    print(f"{path} was left by {holder}; watching it for {WATCH:.0f} s", file=sys.stderr)
    before = os.fstat(lock.fileno()).st_mtime_ns
    time.sleep(WATCH)
    if path.stat().st_mtime_ns != before:
        raise ConfigError(f"{path.parent} is in use by {holder}; wait for it, or end it")


def _sign(lock: IO[str], path: Path) -> None:
    """Write the name of this process into the lock; a full disk leaves no lock behind."""
    lock.truncate(0)
    try:
        os.write(lock.fileno(), f"process {os.getpid()} on {socket.gethostname()}\n".encode())
    except OSError:
        path.unlink()
        raise


def _holder(lock: IO[str]) -> str:
    lock.seek(0)
    return lock.read().strip()


def _died_here(holder: str) -> bool:
    """Whether the holder ran on this machine and has ended; its children may hold the lock."""
    found = re.fullmatch(r"process (\d+) on (.+)", holder)
    if not found or found[2] != socket.gethostname():
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # the process belongs to another user
        pass
    return False


def _renew(lock: IO[str], done: threading.Event) -> None:
    while not done.wait(BEAT):
        with suppress(OSError):
            os.utime(lock.fileno())
