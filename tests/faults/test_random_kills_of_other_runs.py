"""Sweeps of joblib and compiled runs, ended at random moments, finish with the same bits.

These runs take minutes, so they are among the long tests alone.
"""

import os
import random
import signal
import subprocess
import sys

import pytest

from tests.faults.children import ROOT, SMALL, result_of

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
FOUR = (*(option for option in SMALL if "epochs" not in option), "recipe.epochs=4")
KINDS = {
    "joblib, 3 runs": (
        *FOUR, "-m", "attn=none,se,nam", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2",
    ),
    "compile=default": (*FOUR, "attn=nam", "compile=default"),
}  # fmt: skip
MOST = 4  # interruptions of one repetition


def start(cwd, words):
    cwd.mkdir(exist_ok=True)
    with (cwd / "log").open("a") as log:
        return subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *words], cwd=cwd, stdout=log, stderr=log,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            start_new_session=True,
        )  # fmt: skip


def outcome(cwd):
    """The weights and the results of the finished runs below `cwd`."""
    return {
        str(file.parent.relative_to(cwd)): (
            (file.parent / "weights.safetensors").read_bytes(),
            result_of(file.parent),
        )
        for file in cwd.rglob("result.json")
    }


def interrupted(cwd, words, draw, seconds):
    """Start the command, end it at a random moment, and repeat it, until it finishes."""
    for _ in range(MOST):
        process = start(cwd, words)
        try:
            return process.wait(draw.uniform(0.3 * seconds, seconds))
        except subprocess.TimeoutExpired:
            end = draw.choice((os.kill, os.killpg))
            end(process.pid, draw.choice(SIGNALS))
            process.wait(timeout=100)
    return start(cwd, words).wait()


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param(kind, marks=pytest.mark.fault("F12" if "joblib" in kind else "F1"))
        for kind in KINDS
    ],
)
def test_ended_at_random_and_repeated_the_bits_are_the_same(kind, tmp_path, rounds, tally):
    count = rounds(0, 6)
    if not count:
        pytest.skip("among the long tests alone: ATTNBENCH_FAULTS=full")
    if "joblib" in kind:
        pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    words, draw = KINDS[kind], random.Random(1)
    begun = os.times().elapsed
    assert start(tmp_path / "unbroken", words).wait() == 0
    seconds = os.times().elapsed - begun
    expected, outcomes = outcome(tmp_path / "unbroken"), []
    for i in range(count):
        code = interrupted(tmp_path / str(i), words, draw, seconds)
        outcomes.append(code == 0 and outcome(tmp_path / str(i)) == expected)
    fault = "F12" if "joblib" in kind else "F1"
    tally(fault, f"ended at random ({kind}), repeated: equal to the bit", outcomes)
