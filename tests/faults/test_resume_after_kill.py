"""A run killed at any step and started again ends with the same bits."""

import json
import os
import random
import signal
import time
from functools import partial

import pytest
import torch

from tests.faults.children import start, train
from tests.faults.harm import forget, kill

pytestmark = pytest.mark.fault("F1")

SMALL = [
    "data=digits", "data.image_size=8", "model=resnet20", "recipe=digits", "device=cpu",
    "checkpoint_seconds=0",
]  # fmt: skip
SHORT = ["data.val=1200", "recipe.epochs=3"]  # 237 images are left: four updates per epoch
FEATURES = [
    "attn=nam", "recipe.sparsity=1e-4", "recipe.ema=0.9", "recipe.mixup=0.4", "recipe.cutmix=1.0",
    "recipe.randaugment=9", "recipe.label_smoothing=0.1", "recipe.accumulate=2",
    "recipe.clip_norm=1.0", "recipe.decay_norms=false",
]  # fmt: skip
ADAMW = [
    "recipe.optimizer._target_=torch.optim.AdamW", "~recipe.optimizer.momentum",
    "~recipe.optimizer.nesterov", "recipe.lr=0.01",
]  # fmt: skip
STREAM = [  # 30 photographs: four updates per epoch
    "data=imagenet", "data.classes=null", "data.image_size=16", "data.resize=18",
    "model=resnet20", "recipe=imagenet_90ep", "recipe.schedule.milestones=[]", "recipe.lr=0.01",
    "recipe.batch_size=8", "recipe.epochs=3", "device=cpu", "checkpoint_seconds=0.01",
]  # fmt: skip
CASES = {
    "sgd": [*SMALL, *SHORT, *FEATURES],
    "adamw": [*SMALL, *SHORT, *FEATURES, *ADAMW],
    "streamed, no workers": [*STREAM, "data.workers=0", *FEATURES],
    "streamed, 2 workers": [*STREAM, "data.workers=2", *FEATURES],
}
TICKS = 3 * (2 * 4 + 2)  # of harm.py, in one of these runs


def left(cwd):
    """The files of a finished run without the numbers that depend on the clock."""
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


def is_alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("case", CASES)
def test_a_run_killed_at_any_step_ends_with_the_same_bits(case, rounds, tally, tmp_path, photos):
    random_tick, unbroken = random.Random(case), tmp_path / "unbroken"
    run = [*CASES[case], *[f"data.root={photos}"] * ("streamed" in case)]
    assert train(unbroken, *run) == 0
    outcomes = []
    for k in range(rounds(len(CASES), 100) // len(CASES)):
        cwd, tick = tmp_path / f"{k}", random_tick.randint(1, TICKS)
        codes = train(cwd, *run, before=partial(kill, tick)), train(cwd, *run)
        outcomes.append(codes == (-signal.SIGKILL, 0) and same(left(cwd), left(unbroken)))
    tally("F1", f"SIGKILL at a random step ({case}), repeated: equal to the bit", outcomes)


def test_the_workers_of_a_killed_run_end_as_well(tmp_path, photos):
    run = [*CASES["streamed, 2 workers"], f"data.root={photos}"]
    process = start(tmp_path, *run, before=partial(kill, TICKS // 2))
    process.join()
    assert process.exitcode == -signal.SIGKILL
    patience = time.monotonic() + 30  # a worker checks for its parent every five seconds
    while is_alive(process.pid) and time.monotonic() < patience:
        time.sleep(0.2)
    assert not is_alive(process.pid)


def test_control_a_resume_that_forgets_the_average_is_told_apart(tmp_path):
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    assert train(unbroken, *CASES["sgd"]) == 0
    assert train(killed, *CASES["sgd"], before=partial(kill, TICKS // 2)) == -signal.SIGKILL
    assert train(killed, *CASES["sgd"], before=partial(forget, "average")) == 0
    assert not same(left(killed), left(unbroken))
