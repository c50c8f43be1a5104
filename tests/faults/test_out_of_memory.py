"""An out-of-memory error names the option to lower and damages no checkpoint."""

from functools import partial

import pytest
import torch

from engine.errors import enough_memory
from engine.storage.checkpoint import read
from tests.faults.children import SMALL, run_of, said, same, train, wrap

pytestmark = pytest.mark.fault("F15")

ERRORS = {
    "cuda": (torch.OutOfMemoryError, "CUDA out of memory. Tried to allocate 2.00 GiB."),
    "cpu": (RuntimeError, "DefaultCPUAllocator: can't allocate memory"),
    "python": (MemoryError, ""),
}  # fmt: skip


def exhaust(device, step):
    kind, message = ERRORS[device]

    def fail():
        raise kind(message)

    wrap("engine.training.loop", "train_step", step, fail)


def test_out_of_memory(tmp_path, unbroken, rounds, tally):
    outcomes = []
    for device in list(ERRORS)[: rounds(1, 3)]:
        cwd = tmp_path / device
        cwd.mkdir()
        code = train(cwd, *SMALL, before=partial(exhaust, device, 8))  # in the second epoch
        lines = said(cwd).splitlines()
        told = len(lines) == 1 and "out of memory with recipe.batch_size=32: lower it" in lines[0]
        whole = read(run_of(cwd) / "last.pt")["epoch"] == 1
        again = train(cwd, *SMALL)
        outcomes.append((code, again) == (3, 0) and told and whole and same(run_of(cwd), unbroken))
    tally("F15", "out of memory (injected): told, checkpoint whole, rerun exact", outcomes)


def test_control_another_error_is_not_taken_for_it():
    with pytest.raises(RuntimeError, match="shapes do not match"), enough_memory(32):
        raise RuntimeError("shapes do not match")
