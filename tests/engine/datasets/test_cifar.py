import hashlib
import io
import os
import pickle
import tarfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from engine.datasets import cifar
from engine.datasets.cifar import ARCHIVES, CIFAR, unpickle
from engine.storage import archives

CLASSES = ["ant", "bee"]


def batch(n, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (n, 3072), dtype=np.uint8)
    labels = [i % 2 for i in range(n)]
    names = [f"{CLASSES[label]}_s_{n - i:06}.png" for i, label in enumerate(labels)]
    return {"data": pixels, "fine_labels": labels, "filenames": names}


def ordered(batch):
    """The pixels (N, H, W, 3), sorted by class, then by file name."""
    order = np.lexsort([batch["filenames"], batch["fine_labels"]])
    return batch["data"][order].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)


@pytest.fixture
def batches():
    return {"train": batch(6, 0), "test": batch(4, 1), "meta": {"fine_label_names": CLASSES}}


@pytest.fixture
def archive(batches, tmp_path, monkeypatch):
    """The path of a small archive in CIFAR-100's format; its hash is the expected one."""
    path = tmp_path / ARCHIVES["cifar100"].file
    with tarfile.open(path, "w:gz") as tar:
        for name, content in batches.items():
            data = pickle.dumps(content, protocol=2)
            info = tarfile.TarInfo(f"cifar-100-python/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    small = replace(ARCHIVES["cifar100"], sha256=digest, size=path.stat().st_size)
    monkeypatch.setitem(cifar.ARCHIVES, "cifar100", small)
    return path


@pytest.fixture(autouse=True)
def _forget():
    yield
    cifar._read.cache_clear()


def source(root):
    return CIFAR(
        name="cifar100", root=str(root), num_classes=2, image_size=32, statistics="cifar100"
    )


def test_the_archive_is_read_without_being_unpacked(archive, batches):
    train = source(archive.parent).load("train")
    assert np.array_equal(train.pixels.numpy(), ordered(batches["train"]))
    assert train.labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert train.classes == ("ant", "bee")
    assert list(archive.parent.iterdir()) == [archive]


def test_the_unpacked_folder_and_class_folders_hold_the_same(archive, batches, tmp_path):
    expected = source(archive.parent).load("test")
    unpacked = tmp_path / "unpacked"
    (unpacked / "cifar-100-python").mkdir(parents=True)
    for name, content in batches.items():
        (unpacked / "cifar-100-python" / name).write_bytes(pickle.dumps(content, protocol=2))
    folders = tmp_path / "folders"
    for split in ("train", "test"):
        columns = (batches[split][key] for key in ("data", "fine_labels", "filenames"))
        for pixels, label, name in zip(*columns, strict=True):
            file = folders / split / CLASSES[label] / name
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.reshape(3, 32, 32).transpose(1, 2, 0)).save(file)
    for root in (unpacked, unpacked / "cifar-100-python", folders):
        found = source(root).load("test")
        assert found.pixels.equal(expected.pixels)
        assert found.labels.equal(expected.labels)


def test_a_damaged_archive_is_refused(archive):
    data = bytearray(archive.read_bytes())
    data[50] ^= 1
    archive.write_bytes(data)
    with pytest.raises(ValueError, match="cut, damaged or another file"):
        source(archive.parent).load("train")


def test_a_pickle_that_wants_to_run_code_is_refused(tmp_path):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "harm"),)

    with pytest.raises(ValueError, match=r"asks for posix\.mkdir"):
        unpickle(pickle.dumps({"data": Bomb()}))
    assert not (tmp_path / "harm").exists()


def test_the_pickles_of_python_2_are_understood():
    """A pickle written by hand with the opcodes of the published archives."""
    minus_one = b"J\xff\xff\xff\xff"
    dtype = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR(K\x03U\x01|NNN" + minus_one * 2 + b"K\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
    state = b"(K\x01K\x02K\x03\x86" + dtype + b"\x89U\x06\x00\x01\x7f\x80\xfe\xfftb"
    batch = unpickle(b"\x80\x02}(U\x04data" + array + state + b"U\x06labels](K\x03K\x04eu.")
    assert batch["data"].tolist() == [[0, 1, 127], [128, 254, 255]]
    assert batch["labels"] == [3, 4]


def test_a_missing_archive_is_downloaded(archive, tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "BASE", archive.parent.as_uri() + "/")
    new = tmp_path / "new"
    assert len(source(new).load("train")) == 6
    assert [file.name for file in new.iterdir()] == [archive.name]


def test_without_a_network_the_message_says_what_to_put_where(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "BASE", "http://127.0.0.1:9/")  # no server listens there
    with pytest.raises(FileNotFoundError) as refused:
        source(tmp_path / "nowhere").load("train")
    published = ARCHIVES["cifar100"].published
    for words in (published.url, "(169 MB)", "data=digits", "data.root=DIR", "refused"):
        assert words in str(refused.value)
    assert not (tmp_path / "nowhere").exists()


def test_another_name_or_size_is_refused():
    options = {"root": ".", "num_classes": 2, "statistics": "cifar10"}
    with pytest.raises(ValueError, match="name=cifar1: choose from cifar100, cifar10"):
        CIFAR(name="cifar1", image_size=32, **options)
    with pytest.raises(ValueError, match="32 pixels"):
        CIFAR(name="cifar10", image_size=64, **options)
