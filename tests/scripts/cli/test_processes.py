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
from engine.signals import exit_on_signals
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


def test_a_process_that_has_saved_does_not_end_one_that_still_saves(tmp_path):
    pytest.importorskip("joblib")
    sweep = subprocess.Popen(
        [sys.executable, "-c", SWEEP], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )
    while len(list(tmp_path.glob("training_*"))) < 2 and sweep.poll() is None:
        time.sleep(0.02)
    sweep.send_signal(signal.SIGINT)
    assert sweep.wait() == 130
    assert sorted(file.name for file in tmp_path.glob("saved_*")) == ["saved_0", "saved_2"]
