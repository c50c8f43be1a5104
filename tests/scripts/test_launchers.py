"""Sweeps through Hydra's launchers run in parallel, are killed, and finish when repeated."""

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SWEEP = (
    "-m", "data=digits", "data.image_size=8", "data.val=1277", "model=resnet20", "recipe=digits",
    "recipe.batch_size=32", "recipe.epochs=1", "device=cpu", "attn=none,se",
)  # fmt: skip
LAUNCHERS = {
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "submitit": ("hydra/launcher=submitit_local", "hydra.sweeper.max_batch_size=2"),
}


@pytest.fixture(params=LAUNCHERS)
def launcher(request):
    plugins = importlib.util.find_spec("hydra_plugins")
    name = f"hydra_plugins.hydra_{request.param}_launcher"
    if plugins is None or importlib.util.find_spec(name) is None:
        pytest.skip(f"hydra-{request.param}-launcher is not installed")
    return LAUNCHERS[request.param]


def start(cwd, *arguments):
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *SWEEP, *arguments],
        cwd=cwd, env={**os.environ, "PYTHONPATH": ""}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def results(cwd):
    return {file: file.stat().st_mtime_ns for file in cwd.rglob("result.json")}


def trained(cwd):
    """The logs with an epoch; a signal before the first step of a run leaves nothing to save."""
    return (file for file in cwd.rglob("metrics.jsonl") if file.stat().st_size)


def test_a_killed_sweep_is_finished_by_its_repetition(tmp_path, launcher):
    sweep = start(tmp_path, "seed=0,1", *launcher)
    while not results(tmp_path) and sweep.poll() is None:
        time.sleep(0.02)
    os.killpg(sweep.pid, signal.SIGKILL)
    sweep.communicate()
    while list(tmp_path.rglob("lock")) and any(map(is_held, tmp_path.rglob("lock"))):
        time.sleep(0.1)  # submitit's jobs have their own sessions and finish their runs
    before = results(tmp_path)
    sweep = start(tmp_path, "seed=0,1", *launcher)
    said, _ = sweep.communicate()
    assert sweep.returncode == 0, said
    after = results(tmp_path)
    assert len(before) < len(after) == 4
    assert before.items() <= after.items()
    assert "joblib" not in launcher[0] or "\nresnet20 se seed 1  epoch   1/1" in said


def test_a_signal_to_the_first_process_ends_the_whole_sweep(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    sweep = start(tmp_path, "seed=0", "recipe.epochs=500", *LAUNCHERS["joblib"])
    while len(list(trained(tmp_path))) < 2 and sweep.poll() is None:
        time.sleep(0.02)
    sweep.send_signal(signal.SIGINT)  # joblib's processes ignore it
    said, _ = sweep.communicate()
    assert sweep.returncode == 130, said
    assert not any(map(is_held, tmp_path.rglob("lock"))), "no run is at work any more"
    saved = [file.parent for file in tmp_path.rglob("last.pt")]
    assert len(saved) == 2
    assert not list(tmp_path.rglob("lock"))


def is_held(lock):
    import fcntl

    try:
        with lock.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def test_a_run_that_is_refused_does_not_stop_the_others(tmp_path, launcher):
    sweep = start(tmp_path, "attn=se", "attn.reduction=99,4", *launcher)
    said, _ = sweep.communicate()
    assert sweep.returncode == 2
    assert len(results(tmp_path)) == 1
    logs = "".join(file.read_text() for file in tmp_path.rglob("*_log.err"))
    assert "reduction=99 does not fit 16 channels" in said + logs
