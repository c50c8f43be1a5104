"""Worker processes: torch's DataLoader, whose processes end with the run in every case."""

import atexit
import contextlib
import multiprocessing
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from engine.errors import DataError
from engine.signals import SIGNALS, ignore_signals


def default_count() -> int:
    """The number of cores minus one, divided by the number of ranks on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    ranks = int(os.environ.get("LOCAL_WORLD_SIZE", 1))
    return max(1, min(16, cores // ranks - 1))


class Workers:
    """`count` processes that call `work` on tasks and give the results in the order of the tasks.

    They know nothing but the task, live on from one `map` to the next, and ignore the signals that
    make the main process save and leave. One that dies, raises, or gives nothing for `timeout`
    seconds ends the run: DataError. With a count of 0, this process does the work itself.

    On Linux they are forked whatever the default: they end when their parent is gone, which one of
    a fork server is not when this process is killed.
    """

    def __init__(
        self, work: Callable[[Any], Any], count: int, timeout: float, pin_memory: bool = False
    ) -> None:
        self.work = work
        self.count = count
        self._tasks = _Tasks()
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._loader = DataLoader(
            _Work(work),
            batch_size=None,  # a task is a batch already
            sampler=self._tasks,
            num_workers=count,
            collate_fn=_as_it_is,
            timeout=timeout if count else 0,
            pin_memory=pin_memory,
            multiprocessing_context="fork" if count and sys.platform == "linux" else None,
            worker_init_fn=_ignore_signals,
            persistent_workers=count > 0,
            generator=torch.Generator(),  # or it would draw from everybody's
        )

    def map(self, tasks: Iterable[Any]) -> Iterator[Any]:
        """`work(task)` for each task, in the order of the tasks; the processes work ahead."""
        if not self.count:
            yield from map(self.work, tasks)
            return
        self._tasks.tasks = tasks
        try:
            with _failures_told():
                results = self._start()
            while (result := _next(results)) is not _END:
                yield result
        except BaseException:  # also where the caller goes away: nothing may be left to wait for
            self._end()
            raise

    def _start(self) -> Iterator[Any]:
        before = multiprocessing.active_children()
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until workers ignore them
        try:
            with warnings.catch_warnings():  # forking a process with threads, as torch has them
                warnings.simplefilter("ignore", DeprecationWarning)
                results = iter(self._loader)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        new = [child for child in multiprocessing.active_children() if child not in before]
        if new:
            self._processes = new
            atexit.register(_kill, new)  # before those who would ask such processes to terminate
        _Deaths.defer()
        return results

    def _end(self) -> None:
        _kill(self._processes)
        iterator, self._loader._iterator = self._loader._iterator, None  # `map` starts others
        if iterator is not None:
            iterator._shutdown_workers()  # or a later worker, a copy of this process, would try to


class _Tasks:
    """A sampler of DataLoader; its samples are set before each epoch."""

    tasks: Iterable[Any] = ()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.tasks)


class _Work(Dataset):
    def __init__(self, work: Callable[[Any], Any]) -> None:
        self.work = work

    def __getitem__(self, task: Any) -> Any:
        return self.work(task)


class _Deaths:
    """torch's handler of SIGCHLD raises an error in any line, whenever a worker dies.

    The deferred handler raises only while a result is waited for, where the error can be told.
    """

    handler: Callable[[int, FrameType | None], None] | None = None
    waiting = False

    @classmethod
    def defer(cls) -> None:
        found = signal.getsignal(signal.SIGCHLD)
        with contextlib.suppress(ValueError):  # not the main thread: torch has set none either
            if callable(found) and found != cls._deferred:
                signal.signal(signal.SIGCHLD, cls._deferred)
                cls.handler = found

    @classmethod
    def _deferred(cls, number: int, frame: FrameType | None) -> None:
        if cls.waiting and cls.handler is not None:
            cls.handler(number, frame)

    @classmethod
    @contextlib.contextmanager
    def told(cls) -> Iterator[None]:
        cls.waiting = True
        try:
            cls._deferred(signal.SIGCHLD, None)  # those that died in the meantime
            yield
        finally:
            cls.waiting = False


_END = object()


def _next(results: Iterator[Any]) -> Any:
    with _failures_told():
        return next(results, _END)


@contextlib.contextmanager
def _failures_told() -> Iterator[None]:
    """A context that turns an error of a worker into DataError, in one line."""
    try:
        with _Deaths.told():
            yield
    except Exception as error:
        lines = [line for line in str(error).splitlines() if line.strip()] or [repr(error)]
        line = lines[-1] if "Original Traceback" in str(error) else lines[0]
        raise DataError(
            f"a process that reads images failed ({line.strip()}); the same command resumes the run"
        ) from error


def _kill(processes: Iterable[multiprocessing.process.BaseProcess]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.join()


def _ignore_signals(worker: int) -> None:
    ignore_signals()


def _as_it_is(result: Any) -> Any:
    return result
