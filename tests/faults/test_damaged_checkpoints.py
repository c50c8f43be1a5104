"""A damaged checkpoint is never loaded as if it were whole."""

import random
import shutil

import pytest
import torch

from engine.errors import ConfigError
from engine.storage import checkpoint

pytestmark = pytest.mark.fault("F4")

STATE = {"model": {"w": torch.arange(20_000.0), "b": torch.ones(7)}, "epoch": 4, "seconds": 1.5}


def equal(found, epoch):
    return (
        found.keys() == STATE.keys() | {"threads"}
        and (found["epoch"], found["seconds"]) == (epoch, 1.5)
        and all(found["model"][key].equal(value) for key, value in STATE["model"].items())
    )


@pytest.fixture
def folder(tmp_path):
    """Two checkpoints, of epochs 3 and 4."""
    checkpoint.save(tmp_path, STATE | {"epoch": 3})
    checkpoint.save(tmp_path, STATE)
    return tmp_path


def used(folder, capsys):
    """The epoch that is loaded: 4 silently or 3 with a message; None if anything else happens."""
    found = checkpoint.load(folder, like=STATE)
    told = "last.pt cannot be used: " in capsys.readouterr().err
    if equal(found, 4) and not told:
        return 4
    return 3 if equal(found, 3) and told else None


def flips(data, count):
    """`count` copies of the data, each with one random bit flipped."""
    draw = random.Random(0)
    for _ in range(count):
        flipped = bytearray(data)
        flipped[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        yield bytes(flipped)


def test_one_bit(folder, rounds, tally, capsys):
    last = folder / "last.pt"
    outcomes = []
    for data in flips(last.read_bytes(), rounds(60, 200)):
        last.write_bytes(data)
        # Bits between two records (padding, times) are no part of the state: epoch 4 is intact.
        outcomes.append(used(folder, capsys) in (3, 4))
    tally("F4", "one bit flipped: told, or no part of the state", outcomes)


def test_control_torch_alone_loads_flipped_bits(folder):
    silent = 0
    for data in flips((folder / "last.pt").read_bytes(), 20):
        (folder / "copy.pt").write_bytes(data)
        try:
            found = torch.load(folder / "copy.pt", weights_only=True)
        except Exception:
            continue
        silent += not all(found["model"][key].equal(STATE["model"][key]) for key in STATE["model"])
    assert silent > 10


def damages(data):
    """Six cuts, zeros, an empty file, a text."""
    size = len(data)
    yield from (data[:n] for n in (1, 100, size // 4, size // 2, size - 100, size - 1))
    yield from (bytes(size), b"", b"no checkpoint\n" * 100)


def test_cut_emptied_overwritten(folder, tally, capsys):
    last = folder / "last.pt"
    outcomes = []
    for data in damages(last.read_bytes()):
        last.write_bytes(data)
        outcomes.append(used(folder, capsys) == 3)
    torch.save(STATE["model"], last)
    outcomes.append(used(folder, capsys) == 3)
    tally("F4", "cut, zeroed, empty, another file: told, the previous one used", outcomes)


def test_a_newer_format_is_refused_and_kept(folder, tally):
    torch.save({"format": checkpoint.FORMAT + 1, **STATE}, folder / "last.pt")
    before = (folder / "last.pt").read_bytes()
    own = checkpoint.FORMAT
    words = rf"last\.pt has format {own + 1}; this version of attnbench reads {own}"
    with pytest.raises(ConfigError, match=words):
        checkpoint.load(folder, like=STATE)
    tally("F4", "newer format: refused, kept", [(folder / "last.pt").read_bytes() == before])


def test_both_damaged_is_refused_and_not_begun_again(folder, tally):
    for name in checkpoint.NAMES:
        (folder / name).write_bytes(b"")
    with pytest.raises(
        ConfigError, match=r"last\.pt cannot .*; previous\.pt cannot .* remove them"
    ):
        checkpoint.load(folder, like=STATE)
    tally(
        "F4", "both damaged: refused, kept", [all((folder / n).exists() for n in checkpoint.NAMES)]
    )


def test_only_the_previous_one_is_there(folder, tally, capsys):
    """As for a moment while a checkpoint is put in place."""
    shutil.copy(folder / "previous.pt", folder / "copy.pt")
    (folder / "last.pt").rename(folder / "previous.pt")
    found = checkpoint.load(folder, like=STATE)
    tally("F4", "the newest is called previous.pt: used", [equal(found, 4)])
    assert capsys.readouterr().err == ""
