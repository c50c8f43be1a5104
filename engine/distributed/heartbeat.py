"""A sign of life every second tells the ranks of a run when another rank ends.

It goes over the store that torchrun keeps (or rank 0, without it), in a thread of its own: a rank
that computes for long, or waits for a disk, lives; one that was stopped, or whose machine is gone,
does not, and then the others do not wait for it.
"""

import os
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta

from torch.distributed import Store

BEAT = 1.0  # seconds between two signs of life
SILENCE = 20.0  # seconds without one after which a rank is given up
FAREWELL = 5.0  # seconds that rank 0 waits for the others to leave: it may be who keeps the store
EXIT_CODE = 3  # of a run that its machines cannot go on with


class Heartbeat:
    """A context in which this rank sends signs of life and watches the other ranks."""

    def __init__(self, store: Store, rank: int, world: int) -> None:
        self.store = store
        self.keys = [f"beat/{i}" for i in range(world)]
        self.own = self.keys[rank]
        self.done = threading.Event()
        self.counts: list[bytes] = [b""] * world
        self.heard = [time.monotonic()] * world

    def __enter__(self) -> "Heartbeat":
        self.store.add(self.own, 1)
        self.store.wait(self.keys)  # until all have been started
        self.store.set_timeout(timedelta(seconds=SILENCE))
        self.heard = [time.monotonic()] * len(self.keys)
        self.thread = threading.Thread(target=self._live, daemon=True)
        self.thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.done.set()
        self.thread.join()
        self._leave()

    def end(self, code: int) -> bool:
        """Tell the other ranks this exit code; False if another rank ended first."""
        try:
            first = self.store.add("ended", 1) == 1
            if first:
                self.store.set("code", str(code))
            return first
        except Exception:  # the store is gone, and whoever kept it
            return True

    def ended(self) -> int | None:
        """The exit code of the rank that ended first; None if no rank has told one."""
        try:
            if not self.store.add("ended", 0):
                return None
            return int(self.store.get("code"))
        except Exception:
            return None

    def missing(self) -> str:
        """The ranks without a sign of life, in words; the search takes three seconds."""
        time.sleep(3 * BEAT)
        now = time.monotonic()
        silent = [i for i, at in enumerate(self.heard) if now - at > 2 * BEAT]
        return _gone(silent) if silent else "the ranks cannot reach each other any more"

    def _live(self) -> None:
        while not self.done.wait(BEAT):
            try:
                self.store.add(self.own, 1)
                counts = self.store.multi_get(self.keys)
            except Exception:
                if self.done.wait(BEAT):
                    return
                self._give_up("torchrun, or rank 0, cannot be reached any more")
            now = time.monotonic()
            for i, (before, count) in enumerate(zip(self.counts, counts, strict=True)):
                if count != before:
                    self.heard[i] = now
            self.counts = counts
            if silent := [i for i, at in enumerate(self.heard) if now - at > SILENCE]:
                self._give_up(_gone(silent))

    def _give_up(self, why: str) -> None:
        """End the process from this thread: the main thread may be waiting for the silent rank."""
        if self.end(EXIT_CODE):
            os.write(2, f"\n{why}; the run ends, and the same command resumes it\n".encode())
        self._leave()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(EXIT_CODE)

    def _leave(self) -> None:
        until = time.monotonic() + FAREWELL
        with suppress(Exception):  # the store is gone
            left = self.store.add("left", 1)
            while self.own == self.keys[0] and left < len(self.keys) and time.monotonic() < until:
                time.sleep(0.05)
                left = self.store.add("left", 0)


def _gone(silent: list[int]) -> str:
    ranks = ", ".join(map(str, silent))
    return f"rank {ranks} gives no sign of life" if len(silent) == 1 else f"ranks {ranks} give none"
