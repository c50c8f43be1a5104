"""SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 end a run after the step it is in; a second one, at once.

Clusters send SIGUSR1 or SIGUSR2 some time before they take the machine away, SIGTERM when they do.
Of several ranks it is enough that one is signaled.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from engine.distributed.ranks import ALONE, Ranks

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
FORWARDED = 5.0  # seconds in which torchrun passes on to its ranks what they had themselves
SAVING = "saving after this step; run the same command to resume"


class Interruption:
    """A context in which these signals are noted; the loop asks for them between two steps.

    `save` is called before the exit, whose code is the shell's: 128 + the signal's number. All
    ranks save at the same step, and leave.
    """

    def __init__(self, save: Callable[[], None], ranks: Ranks = ALONE) -> None:
        self.save = save
        self.ranks = ranks
        self.signal: int | None = None
        self.came = 0.0

    def __enter__(self) -> "Interruption":
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is None:  # it may have come after the last step
            self.check()

    def check(self) -> None:
        """Save and exit if a signal has come, to this rank or to another."""
        if number := self.ranks.agree(self.signal or 0):
            if self.signal is None:
                self.ranks.first(_say, number, SAVING)
            self.save()
            if self.ranks.world > 1:  # torchrun signals those that are left when one has gone
                ignore_signals()
                self._before = {}
            raise SystemExit(128 + number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal is None:
            self.signal, self.came = number, now
            if self.ranks.rank == 0:
                _say(number, SAVING)
        elif self.ranks.world == 1 or now - self.came > FORWARDED:
            os._exit(128 + number)


def exit_on_signals() -> None:
    """From now on, outside of the loop, the same signals end the process by SystemExit."""
    for number in SIGNALS:
        signal.signal(number, _leave)


def ignore_signals() -> None:
    """From now on the same signals do nothing."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _leave(number: int, frame: FrameType | None) -> None:
    for each in SIGNALS:
        signal.signal(each, lambda second, frame: os._exit(128 + second))
    _say(number, "leaving; run the same command to go on")
    raise SystemExit(128 + number)


def _say(number: int, what: str) -> None:
    """Past Python's own buffers, in the middle of whose writing the signal may have come."""
    with suppress(OSError):
        os.write(2, f"\n{signal.Signals(number).name}: {what}\n".encode())
