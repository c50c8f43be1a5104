"""A signal saves the run after the step it is in and ends it; a second signal ends it at once.

Clusters send SIGUSR1 or SIGUSR2 some time before they take the machine away, and SIGTERM when they
do. Of several ranks, one signaled rank is enough.
"""

import os
import signal
import time
from collections.abc import Callable
from types import FrameType

from engine.distributed.ranks import SINGLE_PROCESS, Ranks
from engine.signals import SIGNALS, announce, ignore_signals

FORWARDED = 5.0  # seconds in which torchrun passes on to its ranks what they had themselves
SAVING = "saving after this step; run the same command to resume"


class Interruption:
    """A context in which these signals are noted; the loop asks for them between two steps.

    `save` is called before the exit, whose code is the shell's: 128 + the signal's number. All
    ranks save at the same step, and leave.
    """

    def __init__(self, save: Callable[[], None], ranks: Ranks = SINGLE_PROCESS) -> None:
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
        if number := self.ranks.all_reduce_max(self.signal or 0):
            if self.signal is None:
                self.ranks.run_on_rank_zero(announce, number, SAVING)
            self.save()
            if self.ranks.world_size > 1:  # torchrun signals those that are left when one has gone
                ignore_signals()
                self._before = {}
            raise SystemExit(128 + number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.signal is None:
            self.signal, self.came = number, now
            if self.ranks.rank == 0:
                announce(number, SAVING)
        elif self.ranks.world_size == 1 or now - self.came > FORWARDED:
            os._exit(128 + number)
