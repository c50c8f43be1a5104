"""Damaged, replaced or hostile archives are refused in one line and run no code."""

import hashlib
import io
import os
import pickle
import tarfile
from dataclasses import replace

import numpy as np
import pytest

from engine.datasets import cifar
from engine.datasets.cifar import ARCHIVES, CIFAR

pytestmark = pytest.mark.fault("B4")


def batch(labels):
    names = [f"{i}.png" for i in range(len(labels))]
    pixels = np.zeros((len(labels), 3072), np.uint8)
    return {"data": pixels, "fine_labels": labels, "filenames": names}


FILES = {
    "train": batch([0, 1, 0, 1]),
    "test": batch([0, 1]),
    "meta": {"fine_label_names": ["ant", "bee"]},
}


def archive(path, extra=()):
    path.parent.mkdir(exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, content in [*FILES.items(), *extra]:
            data = pickle.dumps(content, protocol=2)
            info = tarfile.TarInfo(f"cifar-100-python/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The folder of an archive in CIFAR-100's format; its hash is the expected one."""
    path = archive(tmp_path / "root" / ARCHIVES["cifar100"].file)
    published(path, monkeypatch)
    return path.parent


def published(path, monkeypatch):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    small = replace(ARCHIVES["cifar100"], sha256=digest, size=path.stat().st_size)
    monkeypatch.setitem(cifar.ARCHIVES, "cifar100", small)


def refused(root, words):
    """Whether the data is refused in one line with these words."""
    cifar._read.cache_clear()
    source = CIFAR(
        name="cifar100", root=str(root), num_classes=2, image_size=32, statistics="cifar100"
    )
    try:
        source.load("train")
    except ValueError as error:
        return words in str(error) and "\n" not in str(error)
    return False


class System:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def test_archives_that_are_not_the_published_ones_are_refused(root, tmp_path, monkeypatch, tally):
    file = root / ARCHIVES["cifar100"].file
    assert not refused(root, "")  # the intact archive is accepted
    whole = file.read_bytes()
    outcomes = []
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    outcomes.append(refused(root, "damaged or another file"))
    file.write_bytes(whole[: len(whole) // 2])
    outcomes.append(refused(root, "cut, damaged"))
    archive(file, [("../../escaped", {})])
    outcomes.append(refused(root, "damaged or another file"))
    published(file, monkeypatch)  # even with the right hash, nothing is unpacked
    assert not refused(root, "")
    outcomes[-1] &= {f.name for f in tmp_path.rglob("*") if f.is_file()} == {file.name}
    tally("B4", "archives: another hash, cut, a member with ../", outcomes)


def unpacked(tmp_path, name, content):
    """An unpacked folder, which has no hash; `content` replaces one of its files."""
    folder = tmp_path / name / "cifar-100-python"
    folder.mkdir(parents=True)
    for file, proper in FILES.items():
        data = content if file == "train" else proper
        data = data if isinstance(data, bytes) else pickle.dumps(data, protocol=2)
        (folder / file).write_bytes(data)
    return folder.parent


OBJECTS = np.array([[object] * 2], dtype=object)
HUGE = b"\x80\x02}U\x04datacnumpy\nndarray\nJ\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86\x85Rs."
HUGE_FILLED = (
    b"\x80\x02}U\x04datacnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n"
    b"J\xff\xff\xff\x7fJ\xff\xff\xff\x7f\x86U\x01b\x87Rs."
)


def test_pickles_that_run_code_or_take_all_memory_are_refused(tmp_path, tally):
    harm = tmp_path / "harm"
    call = {"data": System(f"touch {harm}"), "fine_labels": [0]}
    proper = pickle.dumps(FILES["train"], protocol=2)
    ran = refused(unpacked(tmp_path, "call", call), "asks for posix.system")
    by_name = b"cos\nsystem\n(S'touch " + os.fsencode(harm) + b"'\ntR."
    ran &= refused(unpacked(tmp_path, "name", by_name), "asks for os.system")
    arrays = [
        refused(unpacked(tmp_path, "objects", {"data": OBJECTS}), "asks for"),
        refused(unpacked(tmp_path, "huge", HUGE), "cannot be read"),
        refused(unpacked(tmp_path, "filled", HUGE_FILLED), "no images of 3072 bytes"),
        refused(unpacked(tmp_path, "cut", proper[:-9]), "cannot be read"),
        refused(unpacked(tmp_path, "list", [1, 2]), "no batch of CIFAR"),
        refused(unpacked(tmp_path, "labels", FILES["train"] | {"fine_labels": [0, 1]}), "labels"),
        refused(unpacked(tmp_path, "range", FILES["train"] | {"fine_labels": [9] * 4}), "labels"),
        refused(
            unpacked(tmp_path, "names", FILES["train"] | {"filenames": [1] * 4}), "file of each"
        ),
    ]
    assert not harm.exists()
    tally("B4", "pickles: os.system, arrays of objects, of any size, cut", [ran, all(arrays)])
