import errno
import os

import pytest

from engine.errors import ConfigError, ResourceError
from engine.storage.atomic import read_json, replacing, write_json, write_text, writing


def test_a_file_is_replaced_in_one_step(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old\n")
    with replacing(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_text() == "old\n"
    assert path.read_text() == "new"
    assert os.listdir(tmp_path) == ["file"]


def test_what_fails_leaves_the_old_one(tmp_path):
    path = tmp_path / "file"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), replacing(path) as file:
        file.write(b"new" * bool(1 / 0))
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]


def test_the_check_comes_before_the_old_one_goes(tmp_path):
    path, seen = tmp_path / "file", []
    write_text(path, "old")
    with replacing(path, lambda new: seen.append((new.read_text(), path.read_text()))) as file:
        file.write(b"new")
    assert seen == [("new", "old")]


def test_the_contents_are_on_disk_before_the_name_and_the_name_before_the_end(
    tmp_path, monkeypatch
):
    """A power cut leaves the old file or the new one: fsync, rename, fsync of the folder."""
    path, did = tmp_path / "file", []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor):
        names = {p.stat().st_ino: p.name for p in (tmp_path, *tmp_path.iterdir())}
        did.append(("fsync", names[os.fstat(descriptor).st_ino]))
        fsync(descriptor)

    def note_replace(old, new):
        did.append(("replace", new.name))
        replace(old, new)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_text(path, "new")
    new = f"file.{os.getpid()}.tmp"
    assert did == [("fsync", new), ("replace", "file"), ("fsync", tmp_path.name)]


def test_two_processes_replace_one_file(tmp_path, monkeypatch):
    """The file of runs in parallel, `.origins.json`, and the cost of a table are such files."""
    path = tmp_path / "file"
    with replacing(path) as slow:
        slow.write(b"slow")
        monkeypatch.setattr(os, "getpid", lambda: 2)
        write_text(path, "fast")
        assert path.read_text() == "fast"
    assert path.read_text() == "slow"
    assert os.listdir(tmp_path) == ["file"]


def fail(error):
    raise error


def test_errors_of_the_disk_are_told_and_others_are_not_touched(tmp_path):
    full = OSError(errno.ENOSPC, "No space left on device")
    (tmp_path / "file").write_bytes(b"12345")
    told = r"file cannot be written: No space left on device, after 5 bytes \([\d,]+ bytes are free"
    with pytest.raises(ResourceError, match=told), writing(tmp_path / "file"):
        fail(full)
    with pytest.raises(RuntimeError, match="another"), writing(tmp_path / "file"):
        fail(RuntimeError("another"))


def test_an_error_that_torch_hides_is_told_as_well(tmp_path):
    hidden = RuntimeError("unexpected pos 64 vs 0")
    hidden.__context__ = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(ResourceError, match="No space left"), writing(tmp_path / "file"):
        fail(hidden)


def test_json_is_read_or_refused(tmp_path):
    path = tmp_path / "file"
    assert read_json(path) is None
    write_json(path, {"a": 1})
    assert read_json(path) == {"a": 1}
    path.write_text("{")
    with pytest.raises(ConfigError, match="file cannot be read"):
        read_json(path)
