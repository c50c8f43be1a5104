"""F1: a run that is killed at any step ends, by the same command again, with the same bits."""

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
SMALL = ["data=digits", "data.image_size=8", "model=resnet20", "recipe=digits", "device=cpu"]
SHORT = ["data.val=1200", "recipe.epochs=3"]  # 237 images are left: four updates an epoch
FEATURES = [
    "attn=nam", "recipe.sparsity=1e-4", "recipe.ema=0.9", "recipe.mixup=0.4", "recipe.cutmix=1.0",
    "recipe.randaugment=9", "recipe.label_smoothing=0.1", "recipe.accumulate=2",
    "recipe.clip_norm=1.0", "recipe.decay_norms=false",
]  # fmt: skip
ADAMW = [
    "recipe.optimizer._target_=torch.optim.AdamW", "~recipe.optimizer.momentum",
    "~recipe.optimizer.nesterov", "recipe.lr=0.01",
]  # fmt: skip
CASES = {  # what is trained; a data set that streams would be two more of them
    "sgd": [*SMALL, *SHORT, *FEATURES],
    "adamw": [*SMALL, *SHORT, *FEATURES, *ADAMW],
}
TICKS = 3 * (2 * 4 + 2) + 1  # of forked.py, in such a run; the test set is measured at the end


def job(arguments, cwd, kill=None, forget=None):
    cwd.mkdir(exist_ok=True)
    return {"arguments": arguments, "cwd": str(cwd), "kill": kill, "forget": forget}


def run(jobs, tmp_path):
    """The exit codes of the jobs, one after another."""
    listed = tmp_path / "jobs.json"
    listed.write_text(json.dumps(jobs))
    ended = subprocess.run(
        [sys.executable, str(ROOT / "tests/faults/forked.py"), str(listed)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


def left(cwd):
    """All that a finished run leaves, without what depends on the clock."""
    (file,) = cwd.rglob("result.json")
    result = json.loads(file.read_text())
    state = torch.load(file.parent / "last.pt", weights_only=True)
    for clock in ("train_seconds", "images_per_second", "revision"):
        del result[clock]
    for clock in ("seconds", "images"):
        del state[clock]
    files = [(file.parent / name).read_bytes() for name in ("metrics.jsonl", "weights.safetensors")]
    return [result, state, *files]


def same(a, b):
    """Whether two trees of numbers and tensors are equal, to the bit."""
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a.equal(b) if isinstance(a, torch.Tensor) else a == b


@pytest.mark.parametrize("case", CASES)
def test_f1_a_run_killed_at_any_step_ends_with_the_same_bits(case, rounds, tally, tmp_path):
    random_tick = random.Random(case)
    unbroken, arguments = tmp_path / "unbroken", CASES[case]
    jobs, expected = [job(arguments, unbroken)], [0]
    folders = [tmp_path / f"{k}" for k in range(rounds(2, 100) // len(CASES))]
    for folder in folders:
        jobs += [job(arguments, folder, random_tick.randint(1, TICKS)), job(arguments, folder)]
        expected += [-signal.SIGKILL, 0]
    assert run(jobs, tmp_path) == expected
    outcomes = [same(left(folder), left(unbroken)) for folder in folders]
    tally("F1", f"SIGKILL at a random step ({case}), repeated: equal to the bit", outcomes)


def test_f1_control_a_resume_that_forgets_the_average_is_told_apart(tmp_path):
    unbroken, folder = tmp_path / "unbroken", tmp_path / "killed"
    jobs = [
        job(CASES["sgd"], unbroken),
        job(CASES["sgd"], folder, kill=TICKS // 2),
        job(CASES["sgd"], folder, forget="average"),
    ]
    assert run(jobs, tmp_path) == [0, -signal.SIGKILL, 0]
    assert not same(left(folder), left(unbroken))
