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


def test_a_module_that_swallows_errors_while_it_is_imported_does_not_swallow_the_signal(tmp_path):
    (tmp_path / "swallowing.py").write_text(
        "import os, signal\n"
        "try:\n    os.kill(os.getpid(), signal.SIGUSR1)\n"
        "except BaseException:\n    pass\n"
        "print('imported')\n"
    )
    code = (
        "import time\n"
        "from engine.signals import exit_on_signals\n"
        "exit_on_signals()\n"
        "import swallowing\n"
        "time.sleep(60)\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=30,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(tmp_path)))},
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (128 + signal.SIGUSR1, "imported\n")
    assert ended.stderr.strip() == "SIGUSR1: leaving; run the same command to go on"


def test_code_that_swallows_the_exit_is_told_again():
    code = (
        "import os, signal, time\n"
        "from engine import signals\n"
        "signals.CLEARING = 0.1\n"
        "signals.exit_on_signals()\n"
        "try:\n    os.kill(os.getpid(), signal.SIGTERM)\n"
        "except SystemExit:\n    time.sleep(60)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=30)
    assert ended.returncode == 128 + signal.SIGTERM


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
