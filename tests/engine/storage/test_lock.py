import fcntl
import os
import socket
import subprocess
import sys

import pytest

from engine.errors import ConfigError
from engine.storage import lock

# A process that takes a lock, starts a child that shares the lock, and ends.
LINGERING = """
import fcntl, os, socket, sys, time
held = open(sys.argv[1], "w")
fcntl.flock(held, fcntl.LOCK_EX)
print(f"process {os.getpid()} on {socket.gethostname()}", file=held, flush=True)
if not os.fork():
    os.close(1)
    time.sleep(float(sys.argv[2]))
"""


def linger(path, seconds):
    subprocess.run([sys.executable, "-c", LINGERING, str(path), str(seconds)], check=True)


def test_the_children_of_a_dead_process_are_waited_for(tmp_path):
    linger(tmp_path / "lock", 0.3)
    with lock.locked(tmp_path):
        assert f"process {os.getpid()} on" in (tmp_path / "lock").read_text()


def test_but_not_for_ever(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "LINGER", 0.1)
    linger(tmp_path / "lock", 2)
    with pytest.raises(ConfigError, match="in use by process"), lock.locked(tmp_path):
        pass


def test_a_lock_file_that_is_taken_away_meanwhile_is_not_what_is_held(tmp_path, monkeypatch):
    """The process before us ends and removes the file between our opening and our locking."""
    plain, removed = fcntl.flock, []

    def flock(file, how):
        plain(file, how)
        if not removed:
            removed.append((tmp_path / "lock").unlink())

    monkeypatch.setattr(fcntl, "flock", flock)
    with lock.locked(tmp_path):
        assert removed
        assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()}")


def test_who_is_alive():
    here = socket.gethostname()
    assert not lock._died_here(f"process {os.getpid()} on {here}")
    assert not lock._died_here("process 1 on elsewhere")
    assert not lock._died_here("")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert lock._died_here(f"process {ended.pid} on {here}")


@pytest.mark.parametrize("kind", ["link", "dangling", "fifo"])
def test_a_lock_that_is_no_file_of_the_folder_is_refused_and_nothing_is_written(tmp_path, kind):
    """A foreign run directory must not make a run overwrite another file or wait for ever."""
    target, path = tmp_path / "precious", tmp_path / "run" / "lock"
    path.parent.mkdir()
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(target)
    if kind == "link":
        target.write_text("content")
    with pytest.raises(ConfigError, match="remove it"), lock.locked(path.parent):
        pass
    assert not target.exists() if kind != "link" else target.read_text() == "content"
