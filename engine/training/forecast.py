"""How long a run will take, said once after its first steps."""

import time
from collections.abc import Callable

from engine.training.run import Run

WARM_UP = 3  # steps of this process that are slower than the others
LEAST_STEPS = 8  # measured steps, at least
LEAST_SECONDS = 1.0  # they last, at least, where an epoch has more steps
SHORT = 20.0  # seconds; a shorter run needs no forecast
FORWARD = 1 / 3  # an evaluated image takes this share of the time of a trained one


class Forecast:
    """The check between two steps, and after the first of them one line by `say`.

    An epoch has `steps` steps and evaluates `evaluated` images for each trained one. Only the clock
    of the host is read. On a GPU, the host runs ahead of the device, except where the loop has just
    read the loss: after every `look` steps.
    """

    def __init__(
        self,
        check: Callable[[], None],
        run: Run,
        steps: int,
        look: int,
        evaluated: float,
        say: Callable[[str], None],
    ) -> None:
        self.check = check
        self.run = run
        self.steps = steps
        self.look = 1 if run.device.type == "cpu" else look
        self.factor = 1 + FORWARD * evaluated
        self.say = say
        self.first = self._done() + WARM_UP
        self.started: tuple[int, float] | None = None  # steps done, and the time
        self.said = False

    def __call__(self) -> None:
        self.check()
        if not self.said and self.run.step % self.look == 0:
            self._measure(self._done(), time.perf_counter())

    def _done(self) -> int:
        return self.run.epoch * self.steps + self.run.step

    def _measure(self, done: int, now: float) -> None:
        if self.started is None:
            self.started = (done, now) if done >= self.first else None
            return
        count, seconds = done - self.started[0], now - self.started[1]
        if count < LEAST_STEPS or (seconds < LEAST_SECONDS and count < self.steps // 5):
            return
        self.said = True
        epochs = self.run.recipe.epochs
        left = (epochs * self.steps - done) * seconds / count * self.factor
        if left >= SHORT:
            self.say(f"about {duration(left)} {_for(epochs, self.run)}")


def _for(epochs: int, run: Run) -> str:
    left = epochs - run.epoch
    what = f"{left} epochs" if left == epochs else f"the other {left} of {epochs} epochs"
    return f"for {what if epochs > 1 else 'the epoch'} on {run.device.type}"


def duration(seconds: float) -> str:
    """A time in words, such as `40 s`, `12 min`, `3 h 20 min` or `2 days 5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days {hours % 24} h"
