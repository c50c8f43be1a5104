"""A signal ends a run after the step it is in; a second signal ends the process at once.

Clusters send SIGUSR1 or SIGUSR2 some time before they take the machine away, and SIGTERM when they
do. Of several ranks, one signaled rank is enough.
"""

import os
import signal
import time
from types import FrameType
from typing import NoReturn

from engine.distributed.ranks import SINGLE_PROCESS, Ranks
from engine.signals import FORWARDED, SIGNALS, announce, ignore_signals, is_passed_on

SAVING = "saving after this step"
SAVED = "saved {}; run the same command to resume"


class Interruption:
    """A context in which SIGNALS are noted; the training loop asks for them between two steps.

    The exit code is the shell's: 128 + the number of the signal.
    """

    def __init__(self, ranks: Ranks = SINGLE_PROCESS) -> None:
        self.ranks = ranks
        self.number: int | None = None  # of the signal that came to this process
        self.came = 0.0

    def __enter__(self) -> "Interruption":
        self._before = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if kind is None and (number := self.signal_or(0)):  # it came after the last step
            self.leave(number, "after the last epoch")

    def signal_or(self, other: int) -> int:
        """The signal that came to any rank, `other` of any rank, or 0; the same on all ranks.

        `other` must be below every number in SIGNALS.
        """
        return self.ranks.all_reduce_max(self.number or other)

    def leave(self, number: int, saved: str) -> NoReturn:
        """End the process with the exit code for signal `number`; `saved` says where it stands."""
        self.ranks.run_on_rank_zero(announce, number, SAVED.format(saved))
        if self.ranks.world_size > 1:  # torchrun signals the ranks that are left when one has gone
            ignore_signals()
            self._before = {}
        raise SystemExit(128 + number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.number is None:
            self.number, self.came = number, now
            if self.ranks.rank == 0:
                announce(number, SAVING)
        elif not self._is_the_first_again(now):
            os._exit(128 + number)

    def _is_the_first_again(self, now: float) -> bool:
        """Whether torchrun, or the parent of a sweep, has passed on a signal that had come."""
        by_torchrun = self.ranks.world_size > 1 and now - self.came <= FORWARDED
        return by_torchrun or is_passed_on(self.came)
