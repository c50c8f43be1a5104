"""SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 outside of training: they end the process, or do nothing.

engine.training.interruption handles these signals during training.

The processes of a sweep end together: the first process ends its children and waits, and a child
whose parent has ended, however that ended, gets SIGTERM.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
FORWARDED = 5.0  # seconds in which a parent passes on a signal that its children already had
LOOK = 0.5  # seconds between two looks at the parent
PATIENCE = 60.0  # seconds in which a child may save and end
CLEARING = 3.0  # seconds in which a process may clear up and end
AGAIN = 0.02  # seconds until a process that imports a module tries again to end
IMPORTING = "<frozen importlib._bootstrap>"  # the file of the frames of an import


class _Family:
    """What this process knows of its sweep: its parent, if that passes signals on; its children."""

    has_parent = False

    @staticmethod
    def children() -> Collection[int]:
        """The numbers of the processes to which signals are passed on."""
        return ()


def exit_on_signals(children: Callable[[], Collection[int]] = _Family.children) -> None:
    """From now on these signals end the process by SystemExit, after its `children`."""
    _Family.children = staticmethod(children)
    for number in SIGNALS:
        signal.signal(number, _leave)


def ignore_signals() -> None:
    """From now on these signals do nothing."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def end_with_parent() -> None:
    """From now on this process gets SIGTERM when its parent has ended."""
    if not _Family.has_parent:
        _Family.has_parent = True
        threading.Thread(target=_watch, args=(os.getppid(),), daemon=True).start()


def is_passed_on(since: float) -> bool:
    """Whether a second signal, after one at `since` (monotonic), is the first one once more."""
    return _Family.has_parent and time.monotonic() - since < FORWARDED


def end(children: Collection[int]) -> None:
    """Send SIGTERM to these processes, and wait until they have ended.

    SIGTERM for every signal: joblib's processes ignore SIGINT. A process that has not ended after
    PATIENCE is killed.
    """
    for child in children:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGTERM)
    deadline = time.monotonic() + PATIENCE
    for child in children:
        while not _has_ended(child) and time.monotonic() < deadline:
            time.sleep(0.05)
        if not _has_ended(child):
            os.kill(child, signal.SIGKILL)


def _has_ended(child: int) -> bool:
    """Whether a child has ended; its parent's other code still learns how (WNOWAIT)."""
    try:
        return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return True


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK)
    os.kill(os.getpid(), signal.SIGTERM)


def _leave(number: int, frame: FrameType | None) -> None:
    came = time.monotonic()

    def again(second: int, frame: FrameType | None) -> None:
        if not is_passed_on(came):
            os._exit(128 + second)

    for each in SIGNALS:
        signal.signal(each, again)
    children = _Family.children()
    if children:
        announce(number, "ending the sweep; its runs save first")
    else:
        announce(number, "leaving; run the same command to go on")
    end(children)
    if _Family.has_parent:  # joblib catches SystemExit and would wait for the next job
        ending = threading.Timer(CLEARING, os._exit, (128 + number,))
        ending.daemon = True
        ending.start()
    _exit(number, frame)


def _exit(number: int, frame: FrameType | None) -> None:
    """Raise SystemExit; during an import, only after the import.

    Libraries swallow an exception there, numpy's C code among them: the signal would be lost. A
    process that has still not ended after CLEARING tries again.
    """
    while frame and frame.f_code.co_filename != IMPORTING:
        frame = frame.f_back
    signal.signal(signal.SIGALRM, lambda _, later: _exit(number, later))
    signal.setitimer(signal.ITIMER_REAL, AGAIN if frame else CLEARING)
    if not frame:
        sys.exit(128 + number)


def announce(number: int, what: str) -> None:
    """Print a line about signal `number`.

    The line bypasses Python's buffers: the signal may have interrupted a write to them.
    """
    with suppress(OSError):
        os.write(2, f"\n{signal.Signals(number).name}: {what}\n".encode())
