"""A signal to the process group: the run saves, and the run and its workers end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.fault("F3")

ROOT = Path(__file__).parent.parent.parent
STREAM = (
    "data=imagenet", "data.classes=null", "data.image_size=16", "data.resize=16", "data.workers=2",
    "recipe=imagenet_90ep", "recipe.epochs=300", "recipe.schedule.milestones=[]", "recipe.lr=0.01",
    "recipe.batch_size=15", "model=resnet20", "device=cpu",
)  # fmt: skip
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)


def start(photos, cwd):
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *STREAM, f"data.root={photos}"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def interrupted(number, photos, cwd):
    """Whether a started run saves, exits with 128 + n, and leaves no process."""
    process = start(photos, cwd)
    while not process.stdout.readline().startswith("epoch") and process.poll() is None:
        pass
    os.killpg(process.pid, number)
    _, err = process.communicate(timeout=60)
    saved = list(cwd.rglob("last.pt"))
    try:
        os.killpg(process.pid, 0)
    except ProcessLookupError:
        return process.returncode == 128 + number and len(saved) == 1 and "worker" not in err
    return False


def test_a_signal_to_all_processes_lets_the_run_save(photos, tmp_path, rounds, tally):
    outcomes = []
    for number in SIGNALS[: rounds(1, 3)]:
        (cwd := tmp_path / str(number)).mkdir()
        outcomes.append(interrupted(number, photos, cwd))
    tally("F3", "signals to a run and its workers", outcomes)
