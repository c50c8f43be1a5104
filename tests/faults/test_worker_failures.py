"""A DataLoader worker dies, raises or hangs: the run ends soon and gives the reason."""

import multiprocessing
import os
import signal
import time

import pytest

from engine.datasets.workers import Workers
from engine.errors import DataError

pytestmark = pytest.mark.fault("F10")


def double(task):
    return 2 * task


def die(task):
    if task == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def fail(task):
    if task == 3:
        raise RuntimeError("a disk is on fire")
    return task


def hang(task):
    if task == 3:
        time.sleep(600)
    return task


def until_lost(work, timeout=60):
    """(results before the end, message, number of processes left, seconds)."""
    started, results = time.monotonic(), []
    with pytest.raises(DataError) as lost:
        results.extend(Workers(work, 2, timeout).map(range(9)))
    left = len(multiprocessing.active_children())
    return results, str(lost.value), left, time.monotonic() - started


FAULTS = {"DataLoader worker": (die, 60), "on fire": (fail, 60), "timed out": (hang, 1)}


def test_a_worker_that_dies_raises_or_hangs_ends_the_run_in_one_line(tally):
    outcomes = []
    for words, (work, timeout) in FAULTS.items():
        results, said, left, seconds = until_lost(work, timeout)
        right = results == list(range(len(results))) and len(results) <= 3
        outcomes.append(right and words in said and "\n" not in said and not left and seconds < 30)
    assert DataError.exit_code == 1
    tally("F10", "a worker dies, raises, hangs", outcomes)


def test_a_death_is_told_only_where_a_result_is_waited_for():
    """torch raises the error at any time, even in a step or in a save; we do not."""
    results = Workers(double, 2, 60).map(range(9))
    assert next(results) == 0
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    time.sleep(0.2)  # the worker dies, and nothing is raised yet
    with pytest.raises(DataError, match="DataLoader worker"):
        list(results)


def test_a_death_between_two_epochs_is_told_when_the_next_begins():
    workers = Workers(double, 2, 60)
    list(workers.map(range(9)))
    os.kill(multiprocessing.active_children()[0].pid, signal.SIGKILL)
    time.sleep(0.2)
    with pytest.raises(DataError, match="DataLoader worker"):
        list(workers.map(range(9)))
    assert not multiprocessing.active_children()


def test_workers_outlive_the_signals_that_make_the_run_save(tally):
    workers = Workers(double, 2, 60)
    outcomes = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        results = workers.map(range(9))
        found = [next(results)]
        for child in multiprocessing.active_children():
            os.kill(child.pid, number)
        outcomes.append(found + list(results) == list(range(0, 18, 2)))
    tally("F10", "signals to the workers", outcomes)


def test_what_is_left_half_way_leaves_no_process_and_can_begin_again():
    workers = Workers(double, 2, 60)
    results = workers.map(range(9))
    next(results)
    results.close()
    assert not multiprocessing.active_children()
    assert list(workers.map(range(5))) == [0, 2, 4, 6, 8]
