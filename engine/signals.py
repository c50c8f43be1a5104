"""SIGTERM, SIGINT and SIGUSR1 end a run after the step it is in; a second one ends it at once."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


class Interruption:
    """A context in which these signals are noted; the loop asks for them between two steps.

    `save` is called before the exit, whose code is the shell's: 128 + the signal's number.
    """

    def __init__(self, save: Callable[[], None]) -> None:
        self.save = save
        self.signal: int | None = None

    def __enter__(self) -> "Interruption":
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Save and exit if a signal has come."""
        if self.signal is not None:
            self.save()
            raise SystemExit(128 + self.signal)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
        name = signal.Signals(number).name
        print(f"\n{name}: saving after this step; run the same command to resume", file=sys.stderr)
