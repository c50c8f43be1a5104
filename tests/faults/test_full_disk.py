"""A full disk: one line names path and bytes, and existing files stay whole."""

import errno
import io
import os
import resource
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from engine.errors import ConfigError, ResourceError
from engine.storage import atomic as files
from engine.storage.checkpoint import load, read
from engine.storage.run_dir import RunDir
from tests.faults.children import ROOT, SMALL, run_of, said, same, tidy, train, wrap

pytestmark = pytest.mark.fault("F5")

SITES = (
    "config.yaml", "metrics.jsonl", "events.out.tfevents", "appended metrics.jsonl", "last.pt",
    "weights.safetensors", "result.json",
)  # fmt: skip
# The number of the write that fails.
FROM = {
    "appended metrics.jsonl": 2,
    "last.pt": 2,
    "events.out.tfevents": 3,
}  # the first failing write
SECOND_EPOCH = ("engine.training.loop", "train_step", 8)


class Full(io.FileIO):
    """A file on a disk that becomes full in the middle of a write."""

    failing = None

    def write(self, data):
        if self.failing():
            super().write(bytes(data)[: len(data) // 2])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(data)


def fill(site, errors=()):
    """Fill the disk: write number `FROM[site]` to this file fails, and every later write."""
    plain, calls = io.open, [0]

    def failing():
        calls[0] += 1
        return calls[0] >= FROM.get(site, 1)

    def full(path, mode="r", *arguments, **options):
        name = "" if isinstance(path, int) else os.path.basename(os.fsdecode(path))
        name = f"appended {name}" if mode == "a" else name.removesuffix(f".{os.getpid()}.tmp")
        here = name == site or (site.startswith("events") and name.startswith(site))
        if not here or not set(mode) & {"w", "a"}:
            return plain(path, mode, *arguments, **options)
        file = Full(path, mode.replace("b", ""))
        file.failing = failing
        buffered = io.BufferedWriter(file)
        return buffered if "b" in mode else io.TextIOWrapper(buffered)

    import builtins

    io.open = builtins.open = full


def limit_file_size(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))


def met(cwd, unbroken, before, site):
    """One line, exit code 3, no unfinished file, older checkpoints whole, and an exact rerun."""
    cwd.mkdir()
    if site == "metrics.jsonl":  # replaced only by a run that resumes
        assert train(cwd, *SMALL, before=partial(wrap, *SECOND_EPOCH, partial(os._exit, 9))) == 9
    code = train(cwd, *SMALL, before=before)
    lines = [line for line in said(cwd).splitlines() if line.startswith("train.py: ")]
    told = len(lines) == 1 and site.split()[-1] in lines[0] and " bytes " in lines[0]
    folders = [config.parent for config in cwd.rglob("config.yaml")]
    clean = all(tidy(f) and not (f / "result.json").exists() for f in folders)
    whole = all(read(path) for path in cwd.rglob("*.pt"))
    again = train(cwd, *SMALL)
    return (code, again) == (3, 0) and told and clean and whole and same(run_of(cwd), unbroken)


def test_full_at_each_place_that_is_written_to(tmp_path, unbroken, rounds, tally):
    sites = SITES if rounds(0, 1) else ("events.out.tfevents", "last.pt", "result.json")
    outcomes = [met(tmp_path / site, unbroken, partial(fill, site), site) for site in sites]
    tally("F5", "disk full at each file: one line, older checkpoint whole, rerun exact", outcomes)


def test_a_file_that_may_not_grow(tmp_path, unbroken, rounds, tally):
    sizes = (100_000, 1_000_000, 2_000_000)[: rounds(1, 3)]
    outcomes = [
        met(tmp_path / str(size), unbroken, partial(limit_file_size, size), ".tmp")
        for size in sizes
    ]
    tally("F5", "RLIMIT_FSIZE: the same", outcomes)


def test_a_table_and_a_picture_on_a_full_disk_keep_the_files_of_before(tmp_path, unbroken, tally):
    table = ("scripts/table.py", f"runs={unbroken}", "to=.", "cost=false")
    picture = ("scripts/cam.py", f"run={unbroken}", "out=cam.png", "board=false", "images=1")
    outcomes = []
    for name, *words in (table, picture):
        before = report(tmp_path, name, *words)
        written = {file: file.read_bytes() for file in files_of_report(tmp_path)}
        after = report(tmp_path, name, *words, preexec_fn=partial(limit_file_size, 1000))
        told = after.stderr.splitlines()[-1]
        kept = {file: file.read_bytes() for file in files_of_report(tmp_path)}
        outcomes.append(
            (before.returncode, after.returncode) == (0, 3)
            and "File too large" in told
            and kept == written != {}
        )
    tally("F5", "a table, heat maps: exit code 3, the files of before stay", outcomes)


def report(cwd, *command, preexec_fn=None):
    return subprocess.run(
        [sys.executable, str(ROOT / command[0]), *command[1:]],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        preexec_fn=preexec_fn,
    )  # fmt: skip


def files_of_report(folder):
    return [file for file in folder.rglob("*.*") if file.is_file() and "board" not in file.parts]


def test_a_full_disk_leaves_no_lock(tmp_path, monkeypatch, tally):
    def full(descriptor, data):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    folder = RunDir(tmp_path / "runs" / "seed0", {}, {})
    monkeypatch.setattr("engine.storage.lock.os.write", full)
    with pytest.raises(ResourceError, match="seed0 cannot be written to"), folder.claim():
        pass
    tally("F5", "no byte is free: exit code 3, no lock and no folder", [not tmp_path.exists()])


def write_to_dev_full():
    with files.writing(Path("/dev/full")), Path("/dev/full").open("w") as file:
        file.write("x")


def test_dev_full(tally):
    with pytest.raises(ResourceError, match="/dev/full cannot be written: No space left on device"):
        write_to_dev_full()
    tally("F5", "/dev/full: told", [True])


def test_too_little_space_is_known_before_training(tmp_path, monkeypatch, tally):
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 1000}))
    with pytest.raises(
        ConfigError, match=r"1,000 bytes are free, and this run writes at least 1,001"
    ):
        files.require_space(tmp_path, 1001)
    files.require_space(tmp_path, 1000)
    tally("F5", "too little space: refused before training", [True])


def save_in_place(path):
    with Full(path, "w") as file:
        file.failing = lambda: True
        file.write(b"x" * 100)


def test_control_without_the_protocol_the_file_is_broken(tmp_path):
    with pytest.raises(OSError, match="No space"):
        save_in_place(tmp_path / "last.pt")
    with pytest.raises(ConfigError, match="is not whole"):
        load(tmp_path, like={"model": {}})
