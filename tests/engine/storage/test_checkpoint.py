import io
import os
import random

import pytest
import torch

from engine.errors import ConfigError, ResourceError
from engine.storage import checkpoint

STATE = {"model": {"w": torch.arange(3000.0)}, "epoch": 4}


def same(state, epoch=4):
    return state["epoch"] == epoch and state["model"]["w"].equal(STATE["model"]["w"])


def test_what_is_saved_is_loaded(tmp_path):
    checkpoint.save(tmp_path, STATE)
    assert same(checkpoint.load(tmp_path, like=STATE))


def test_an_empty_folder_has_none(tmp_path):
    assert checkpoint.load(tmp_path, like=STATE) is None


def test_two_are_kept_and_nothing_else(tmp_path):
    for epoch in range(4):
        checkpoint.save(tmp_path, STATE | {"epoch": epoch})
    assert sorted(os.listdir(tmp_path)) == ["last.pt", "previous.pt"]
    assert same(checkpoint.load(tmp_path, like=STATE), 3)
    assert same(checkpoint.read(tmp_path / "previous.pt"), 2)


@pytest.mark.parametrize("damage", [*range(20), "cut", "empty", "zeros"])
def test_a_damaged_checkpoint_is_never_used(tmp_path, capsys, damage):
    checkpoint.save(tmp_path, STATE | {"epoch": 3})
    checkpoint.save(tmp_path, STATE)
    last = tmp_path / "last.pt"
    data = bytearray(last.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "empty":
        data = b""
    elif damage == "zeros":
        data = bytes(len(data))
    else:  # one bit of the saved state, at any place
        at = random.Random(damage).randrange(len(data))
        data[at] ^= 1 << damage % 8
    last.write_bytes(data)
    state = checkpoint.load(tmp_path, like=STATE)
    used_the_previous_one = same(state, 3) and "cannot be used" in capsys.readouterr().err
    # Bits between two records (padding, time stamps) are no part of the state.
    assert used_the_previous_one or (isinstance(damage, int) and same(state))


def test_a_flipped_bit_of_a_weight_is_what_torch_would_not_notice(tmp_path):
    checkpoint.save(tmp_path, STATE)
    last = tmp_path / "last.pt"
    data = bytearray(last.read_bytes())
    at = data.find(torch.tensor([1500.0, 1501.0]).numpy().tobytes())
    data[at + 2] ^= 1
    last.write_bytes(data)
    loaded = torch.load(last, weights_only=True)
    assert not loaded["model"]["w"].equal(STATE["model"]["w"])
    with pytest.raises(ValueError, match="is damaged"):
        checkpoint.read(last)


def test_a_file_that_is_not_what_was_written_never_takes_the_place_of_a_good_one(
    tmp_path, monkeypatch
):
    """The disk or the memory flips one bit of a weight while the file is written."""
    checkpoint.save(tmp_path, STATE)
    save = torch.save

    def save_with_a_flipped_bit(state, file):
        save(state, out := io.BytesIO())
        data = bytearray(out.getvalue())
        data[data.find(torch.tensor([1500.0, 1501.0]).numpy().tobytes()) + 2] ^= 1
        file.write(data)

    monkeypatch.setattr(torch, "save", save_with_a_flipped_bit)
    with pytest.raises(ResourceError, match=r"last\.pt: the file differs from the data"):
        checkpoint.save(tmp_path, STATE | {"epoch": 5})
    assert os.listdir(tmp_path) == ["last.pt"]
    assert same(checkpoint.read(tmp_path / "last.pt"))


def test_a_damaged_checkpoint_does_not_replace_the_good_one_before_it(tmp_path):
    for epoch in (2, 3):
        checkpoint.save(tmp_path, STATE | {"epoch": epoch})
    (tmp_path / "last.pt").write_bytes(b"damaged")
    checkpoint.save(tmp_path, STATE)
    assert same(checkpoint.read(tmp_path / "last.pt"))
    assert same(checkpoint.read(tmp_path / "previous.pt"), 2)


def test_a_checkpoint_runs_no_code(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    torch.save({"format": checkpoint.FORMAT, "model": Bomb()}, tmp_path / "last.pt")
    with pytest.raises(ConfigError, match=r"last\.pt cannot be used: torch cannot load it"):
        checkpoint.load(tmp_path, like=STATE)
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize("number", [checkpoint.FORMAT + 1, checkpoint.FORMAT - 1])
def test_a_checkpoint_of_another_format_is_refused_and_kept(tmp_path, number):
    torch.save(STATE | {"format": number}, tmp_path / "last.pt")
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(ConfigError, match=rf"has format {number}; this version .* reads"):
        checkpoint.load(tmp_path, like=STATE)
    assert (tmp_path / "last.pt").read_bytes() == before


def test_a_failed_save_leaves_the_old_one(tmp_path, monkeypatch):
    checkpoint.save(tmp_path, STATE)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(ResourceError, match=r"last\.pt\.\d+\.tmp cannot be written: No space left"):
        checkpoint.save(tmp_path, STATE | {"epoch": 5})
    assert os.listdir(tmp_path) == ["last.pt"]
    assert same(checkpoint.load(tmp_path, like=STATE))
