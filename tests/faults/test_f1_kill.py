"""F1: a run that is killed at any step ends, by the same command again, with the same bits."""

import json
import random
import signal

import pytest
import torch

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
def test_f1_a_run_killed_at_any_step_ends_with_the_same_bits(case, rounds, tally, tmp_path, forked):
    tick = random.Random(case)
    unbroken, run = tmp_path / "unbroken", {"arguments": CASES[case]}
    folders = [tmp_path / f"{k}" for k in range(rounds(2, 100) // len(CASES))]
    jobs, expected = [run | {"cwd": unbroken}], [0]
    for cwd in folders:
        jobs += [run | {"cwd": cwd, "kill": tick.randint(1, TICKS)}, run | {"cwd": cwd}]
        expected += [-signal.SIGKILL, 0]
    assert forked(*jobs) == expected
    outcomes = [same(left(cwd), left(unbroken)) for cwd in folders]
    tally("F1", f"SIGKILL at a random step ({case}), repeated: equal to the bit", outcomes)


def test_f1_control_a_resume_that_forgets_the_average_is_told_apart(tmp_path, forked):
    unbroken, killed = tmp_path / "unbroken", tmp_path / "killed"
    run = {"arguments": CASES["sgd"]}
    ended = forked(
        run | {"cwd": unbroken},
        run | {"cwd": killed, "kill": TICKS // 2},
        run | {"cwd": killed, "forget": "average"},
    )
    assert ended == [0, -signal.SIGKILL, 0]
    assert not same(left(killed), left(unbroken))
