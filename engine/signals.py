"""SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 outside of training: they end the process, or do nothing.

engine.training.interruption handles these signals during training.
"""

import os
import signal
from contextlib import suppress
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


def exit_on_signals() -> None:
    """From now on these signals end the process by SystemExit."""
    for number in SIGNALS:
        signal.signal(number, _leave)


def ignore_signals() -> None:
    """From now on these signals do nothing."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _leave(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, lambda second, frame: os._exit(128 + second))
    announce(number, "leaving; run the same command to go on")
    raise SystemExit(128 + number)


def announce(number: int, what: str) -> None:
    """Print a line about signal `number`.

    The line bypasses Python's buffers: the signal may have interrupted a write to them.
    """
    with suppress(OSError):
        os.write(2, f"\n{signal.Signals(number).name}: {what}\n".encode())
