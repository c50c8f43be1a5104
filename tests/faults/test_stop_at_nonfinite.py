"""A NaN or infinite number stops the run with its place; the run can resume from before."""

from functools import partial

import pytest
import torch

from tests.faults.children import said, train
from tests.faults.harm import spoil

pytestmark = pytest.mark.fault("F9")

RUN = [
    "data=digits", "data.image_size=8", "data.val=1200", "model=resnet20", "recipe=digits",
    "recipe.epochs=2", "recipe.ema=0.9", "device=cpu", "checkpoint_seconds=0",
]  # fmt: skip
WHERE = " is not finite at step 3 of epoch 2 (lr "
FAULTS = {  # the spoiled number, and the place in the message
    "input": "the input of the network",
    "output": "the output of layer2.1.conv1 (Conv2d)",
    "loss": "the loss",
    "gradient": "the gradient at the output of layer2.1.conv1 (Conv2d)",
    "buffer": "layer2.1.bn1.running_var",
    "weight": "layer2.1.conv1.weight",
}


def is_told(what, cwd):
    lines = [line for line in said(cwd).splitlines() if "train.py: " in line]
    return len(lines) == 1 and lines[0].startswith(f"train.py: {FAULTS[what]}{WHERE}")


def is_kept(cwd):
    (file,) = cwd.rglob("last.pt")
    state = torch.load(file, weights_only=True)
    finite = all(tensor.isfinite().all() for tensor in state["model"].values())
    return (state["epoch"], state["step"]) == (1, 0) and finite


def weights(cwd):
    (file,) = cwd.rglob("weights.safetensors")
    return file.read_bytes()


def test_a_number_that_is_not_finite_stops_the_run_and_is_named(tally, tmp_path):
    told = []
    for what in FAULTS:
        code = train(tmp_path / what, *RUN, before=partial(spoil, what))
        told.append(code == 1 and is_told(what, tmp_path / what) and is_kept(tmp_path / what))
    tally("F9", "not finite: told in one line, exit code 1, the last checkpoint kept", told)


def test_without_the_fault_the_run_goes_on_from_there(rounds, tally, tmp_path):
    assert train(tmp_path / "unbroken", *RUN) == 0
    equal = []
    for what in list(FAULTS)[: rounds(1, 6)]:
        cwd = tmp_path / what
        codes = train(cwd, *RUN, before=partial(spoil, what)), train(cwd, *RUN)
        equal.append(codes == (1, 0) and weights(cwd) == weights(tmp_path / "unbroken"))
    tally("F9", "after it, without the fault: equal to the bit", equal)
