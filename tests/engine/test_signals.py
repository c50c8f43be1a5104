import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine import signals
from engine.signals import SIGNALS

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", SIGNALS)
def test_outside_of_the_loop_they_end_the_process_and_what_it_holds_is_released(number):
    code = (
        "import os, sys\n"
        "from engine.signals import exit_on_signals\n"
        "exit_on_signals()\n"
        "try:\n"
        "    os.kill(os.getpid(), int(sys.argv[1]))\n"
        "finally:\n"
        "    print('released')\n"
    )
    command = [sys.executable, "-c", code, str(int(number))]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 128 + number
    assert ended.stdout == "released\n"
    assert ended.stderr.strip() == f"{number.name}: leaving; run the same command to go on"


PARENT = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True)
print(child.pid, child.stdout.readline(), end="", flush=True)
{then}
"""
CHILD = """
import sys, time
from engine import signals
signals.exit_on_signals()
signals.end_with_parent()
try:
    print("ready", flush=True)
    time.sleep(60)
finally:
    open(sys.argv[1] if sys.argv[1:] else "ended", "w").close()
"""


def family(tmp_path, then):
    """A parent and its child, both running; the number of the child."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PARENT.format(then=then), CHILD]
    parent = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True
    )
    child, ready = parent.stdout.readline().split()
    assert ready == "ready"
    return parent, int(child)


def until(happened, seconds=10):
    deadline = time.monotonic() + seconds
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.02)
    return happened()


def test_a_child_ends_when_its_parent_was_killed(tmp_path):
    parent, _ = family(tmp_path, "time.sleep(60)")
    parent.kill()
    parent.communicate()
    assert until((tmp_path / "ended").exists)


def test_a_parent_ends_its_children_and_waits_for_them(tmp_path):
    then = "from engine import signals; signals.exit_on_signals(lambda: [child.pid]); print('on', "
    then += "flush=True); time.sleep(60)"
    parent, _ = family(tmp_path, then)
    assert parent.stdout.readline() == "on\n"
    parent.send_signal(signal.SIGINT)
    parent.communicate()
    assert parent.returncode == 130
    assert (tmp_path / "ended").exists(), "the child is done before its parent leaves"


def test_a_signal_that_is_passed_on_is_not_taken_for_a_second_one(monkeypatch):
    now = time.monotonic()
    assert not signals.is_passed_on(now)
    monkeypatch.setattr(signals._Family, "has_parent", True)
    assert signals.is_passed_on(now)
    assert not signals.is_passed_on(now - 2 * signals.FORWARDED)
