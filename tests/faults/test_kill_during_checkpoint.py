"""SIGKILL at any byte of a checkpoint write leaves the old or the new checkpoint."""

import os
import random
import signal

import pytest
import torch

from engine.storage import atomic as files
from engine.storage import checkpoint
from engine.storage.run_dir import RunDir
from tests.faults.children import fork

pytestmark = pytest.mark.fault("F2")

SIZE = 24_000  # numbers in the state: about 100,000 bytes
CALLS = ("os.fsync", "os.replace", "verify")


def state(epoch):
    generator = torch.Generator().manual_seed(epoch)
    return {"model": {"w": torch.randn(SIZE, generator=generator)}, "epoch": epoch}


def equal(found, epoch):
    return found["epoch"] == epoch and found["model"]["w"].equal(state(epoch)["model"]["w"])


def die(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)


class Deadly:
    """A file that kills its process when the byte `last` has reached the disk."""

    def __init__(self, file, last):
        self.file, self.left = file, last

    def write(self, data):
        data = bytes(data)
        self.file.write(data[: self.left])
        self.file.flush()
        self.left -= len(data)
        if self.left <= 0:
            die()
        return len(data)


def save_and_die(folder, moment):
    """Save epoch 2; die at a byte of the file, or before or after a later call."""
    plain = torch.save
    if isinstance(moment, int):
        torch.save = lambda value, file: plain(value, Deadly(file, moment))
    else:
        name, count, after = moment
        owner = checkpoint if name == "verify" else files.os
        kill_at(owner, name.rpartition(".")[2], count, after)
    checkpoint.save(folder, state(2))
    die()  # after the save


def kill_at(owner, name, count, after):
    original, calls = getattr(owner, name), [0]

    def wrapped(*arguments):
        calls[0] += 1
        if calls[0] == count and not after:
            die()
        original(*arguments)
        if calls[0] == count:
            die()

    setattr(owner, name, wrapped)


def save_carelessly_and_die(folder, moment):
    with (folder / "last.pt").open("wb") as file:
        torch.save({"format": checkpoint.FORMAT, **state(2)}, Deadly(file, moment))


def survives(folder, save, moment):
    """Save two checkpoints, die in the third: is epoch 1 or 2 found, and no other file left?"""
    run = RunDir(folder, {"seed": 0}, {})
    folder.mkdir()
    checkpoint.save(folder, state(0))
    checkpoint.save(folder, state(1))
    assert fork(save, folder, moment) == -signal.SIGKILL
    with run.claim():
        found = checkpoint.load(folder, like=state(0))
    names = {file.name for file in folder.iterdir()}
    return (equal(found, 1) or equal(found, 2)) and names <= {*checkpoint.NAMES, "config.yaml"}


def test_killed_at_any_byte(tmp_path, rounds, tally):
    draw = random.Random(0)
    checkpoint.save(tmp_path, state(2))
    bytes_ = (tmp_path / "last.pt").stat().st_size
    calls = [(name, n, after) for name in CALLS for n in (1, 2) for after in (False, True)]
    moments = [draw.randint(1, bytes_) for _ in range(200 - len(calls))] + calls
    draw.shuffle(moments)
    moments = moments[: rounds(16, 200)]
    outcomes = [survives(tmp_path / str(i), save_and_die, m) for i, m in enumerate(moments)]
    tally("F2", "SIGKILL at a byte of the write: the old or the new checkpoint", outcomes)


def test_control_a_file_written_in_place_is_lost(tmp_path, capsys):
    """Without the protocol, only epoch 0 is found."""
    assert not survives(tmp_path / "a", save_carelessly_and_die, 50_000)
    assert "last.pt cannot be used: it is not whole" in capsys.readouterr().err


def test_killed_while_a_damaged_one_is_replaced(tmp_path, rounds, tally):
    """The damaged checkpoint must not replace the good one, from which the run resumed."""
    moments = [("os.replace", n, after) for n in (1, 2) for after in (False, True)]
    outcomes = []
    for i, moment in enumerate(moments[: rounds(2, 4)]):
        folder = tmp_path / str(i)
        folder.mkdir()
        checkpoint.save(folder, state(1))
        (folder / "last.pt").rename(folder / "previous.pt")
        (folder / "last.pt").write_bytes(b"damaged")
        fork(save_and_die, folder, moment)
        found = checkpoint.load(folder, like=state(0))
        outcomes.append(equal(found, 1) or equal(found, 2))
    tally("F2", "the same while a damaged checkpoint is replaced", outcomes)
