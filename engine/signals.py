"""SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 end a run after the step it is in; a second one, at once.

Clusters send SIGUSR1 or SIGUSR2 some time before they take the machine away, SIGTERM when they do.
"""

import os
import signal
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)


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

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is None:  # it may have come after the last step
            self.check()

    def check(self) -> None:
        """Save and exit if a signal has come."""
        if self.signal is not None:
            self.save()
            raise SystemExit(128 + self.signal)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None:
            os._exit(128 + number)
        self.signal = number
        _say(number, "saving after this step; run the same command to resume")


def exit_on_signals() -> None:
    """From now on, outside of the loop, the same signals end the process by SystemExit."""
    for number in SIGNALS:
        signal.signal(number, _leave)


def _leave(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, lambda second, frame: os._exit(128 + second))
    _say(number, "leaving; run the same command to go on")
    raise SystemExit(128 + number)


def _say(number: int, what: str) -> None:
    """Past Python's own buffers, in the middle of whose writing the signal may have come."""
    with suppress(OSError):
        os.write(2, f"\n{signal.Signals(number).name}: {what}\n".encode())
