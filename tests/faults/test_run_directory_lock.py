"""Only one process holds a run directory; two runs at once have two directories."""

import os
import re
import signal
import socket
import time
from contextlib import suppress

import pytest

from engine.errors import ConfigError
from engine.storage import lock
from engine.storage.run_dir import RunDir
from tests.faults.children import context

pytestmark = pytest.mark.fault("F7", "F8")


def claim(path, barrier, seed, answers, hold):
    """Claim the directory together with others; answer (pid, refusal or None)."""
    folder = RunDir(path, {"seed": seed}, {})
    barrier.wait()
    try:
        with folder.claim():
            answers.put((os.getpid(), None))
            barrier.wait()  # all processes have tried
            (path / "result.json").write_text("{}")
            time.sleep(hold)
    except ConfigError as error:
        answers.put((os.getpid(), str(error)))
        barrier.wait()


def claim_and_hang(path, ready):
    with RunDir(path, {"seed": 0}, {}).claim():
        ready.set()
        time.sleep(60)


def compete(paths, seeds):
    """The answers of two processes: (pid, refusal or None)."""
    barrier, answers = context.Barrier(2), context.Queue()
    both = [
        context.Process(target=claim, args=(path, barrier, seed, answers, 0))
        for path, seed in zip(paths, seeds, strict=True)
    ]
    for process in both:
        process.start()
    got = [answers.get(), answers.get()]
    for process in both:
        process.join()
    return got


def test_two_processes_and_one_directory(tmp_path, rounds, tally):
    outcomes = []
    for i in range(rounds(4, 20)):
        got = compete([tmp_path / str(i)] * 2, (0, 0))
        winners = [pid for pid, refusal in got if refusal is None]
        refusals = [refusal for _, refusal in got if refusal is not None]
        named = [f"in use by process {pid} on {socket.gethostname()}" for pid in winners]
        outcomes.append(len(winners) == len(refusals) == 1 and named[0] in refusals[0])
    tally("F7", "two processes, one directory: one has it, the other names it", outcomes)


def test_two_runs_in_the_same_second(tmp_path, rounds, tally):
    outcomes = []
    for i in range(rounds(4, 50)):
        got = compete([tmp_path / str(i) / "seed0", tmp_path / str(i) / "seed1"], (0, 1))
        both = len(list((tmp_path / str(i)).glob("seed?/result.json"))) == 2
        outcomes.append([refusal for _, refusal in got] == [None, None] and both)
    tally("F8", "two runs at the same time: two directories", outcomes)


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path, tally):
    ready = context.Event()
    process = context.Process(target=claim_and_hang, args=(tmp_path / "run", ready))
    process.start()
    ready.wait()
    with pytest.raises(ConfigError, match=f"in use by process {process.pid}"):
        RunDir(tmp_path / "run", {"seed": 0}, {}).claim().__enter__()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert f"process {process.pid}" in (tmp_path / "run" / "lock").read_text()
    with RunDir(tmp_path / "run", {"seed": 0}, {}).claim():
        taken = re.search(r"\d+", (tmp_path / "run" / "lock").read_text())[0]
    tally("F7", "stale lock of a killed process: taken over", [int(taken) == os.getpid()])


def keep_renewing(path, stop):
    while not stop.wait(0.02):
        os.utime(path)


@pytest.mark.parametrize("alive", [False, True])
def test_a_lock_that_another_machine_left(tmp_path, tally, monkeypatch, capsys, alive):
    """We do not see its flock. The lock is taken over only if nobody renews the file."""
    monkeypatch.setattr(lock, "WATCH", 0.5)
    (tmp_path / "lock").write_text("process 7 on elsewhere\n")
    (tmp_path / "result.json").write_text("{}")
    stop = context.Event()
    process = context.Process(target=keep_renewing, args=(tmp_path / "lock", stop))
    if alive:
        process.start()
    refusal = None
    try:
        with RunDir(tmp_path, {"seed": 0}, {}).claim():
            pass
    except ConfigError as error:
        refusal = str(error)
    stop.set()
    with suppress(AssertionError):  # the process was not started
        process.join()
    assert "was left by process 7 on elsewhere; watching it" in capsys.readouterr().err
    right = "in use by process 7 on elsewhere" in refusal if alive else refusal is None
    what = "renewed: refused" if alive else "not renewed: taken over"
    tally("F7", f"lock of another machine, {what}", [right])


def test_a_held_lock_is_renewed(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "BEAT", 0.02)
    with lock.locked(tmp_path):
        os.utime(tmp_path / "lock", (0, 0))
        until = time.monotonic() + 30
        while (tmp_path / "lock").stat().st_mtime == 0 and time.monotonic() < until:
            time.sleep(0.01)
        assert (tmp_path / "lock").stat().st_mtime > 0
    assert not (tmp_path / "lock").exists()
