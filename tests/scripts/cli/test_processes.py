"""The processes of a parallel sweep all save before the sweep ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SWEEP = """
import os, signal, time
from pathlib import Path
from joblib import Parallel, delayed
from engine.signals import end_with_parent, exit_on_signals
from scripts.cli.processes import workers_that_save

def job(seconds):
    def save(number, frame):
        time.sleep(seconds)
        Path(f"saved_{seconds}").touch()
        os._exit(143)

    signal.signal(signal.SIGTERM, save)
    Path(f"training_{seconds}").touch()
    time.sleep(60)

exit_on_signals(workers_that_save)
Parallel(2)(delayed(job)(seconds) for seconds in (0, 2))
"""
PREPARING = SWEEP.replace("def save", "def unused").replace(
    "signal.signal(signal.SIGTERM, save)", "exit_on_signals(); end_with_parent()"
)


def interrupted(code, cwd):
    """Start the sweep, send SIGINT to its first process when both jobs run; its exit code."""
    pytest.importorskip("joblib")
    sweep = subprocess.Popen(
        [sys.executable, "-c", code], cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    while len(list(cwd.glob("training_*"))) < 2 and sweep.poll() is None:
        time.sleep(0.02)
    sweep.send_signal(signal.SIGINT)
    return sweep.wait(timeout=50)


def test_a_sweep_ends_although_joblib_catches_the_exit_of_a_job_that_prepares(tmp_path):
    assert interrupted(PREPARING, tmp_path) == 130


def test_a_process_that_has_saved_does_not_end_one_that_still_saves(tmp_path):
    assert interrupted(SWEEP, tmp_path) == 130
    assert sorted(file.name for file in tmp_path.glob("saved_*")) == ["saved_0", "saved_2"]
