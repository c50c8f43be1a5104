"""CIFAR-10 and CIFAR-100, from the archive, the unpacked folder or class folders.

The published archives are pickles. They are read from inside the `.tar.gz`, whose SHA-256 is
checked, or from the unpacked folder, by an unpickler that knows byte strings and arrays only.

In every shape the images come by class, and in it by file name: a run's bits do not depend on it.
"""

import functools
import io
import pickle
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from engine.datasets.dataset import ImageDataset
from engine.datasets.folder import read_folders
from engine.datasets.in_memory import Images
from engine.storage.archives import ARCHIVES, Archive


@dataclass(frozen=True, kw_only=True)
class CIFAR(ImageDataset):
    """`name` is cifar10 or cifar100. `root` holds the data; an empty `root` gets the archive."""

    name: str
    root: str

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name not in ARCHIVES:
            raise ValueError(f"name={self.name}: choose from {', '.join(ARCHIVES)}")
        if self.image_size != 32:
            raise ValueError(f"image_size={self.image_size}: CIFAR images are 32 pixels wide")

    def read(self, split: str) -> Images:
        return _read(self.name, Path(self.root).expanduser(), split)


@functools.lru_cache(maxsize=2)  # the runs of one sweep share the decoded images
def _read(name: str, here: Path, split: str) -> Images:
    archive = ARCHIVES[name]
    if folder := archive.unpacked(here):
        return _from_batches(archive, split, lambda file: (folder / file).read_bytes())
    if (here / split).is_dir():
        return read_folders(here / split, image_size=32)
    return _from_tar(archive, archive.fetch(here), split)


def _from_tar(archive: Archive, path: Path, split: str) -> Images:
    if not archive.published.is_at(path):
        raise ValueError(f"{path} is cut, damaged or another file: its SHA-256 differs; delete it")
    with tarfile.open(path) as tar:  # members are read by name; nothing is unpacked
        return _from_batches(
            archive, split, lambda file: tar.extractfile(f"{archive.folder}/{file}").read()
        )


def _from_batches(archive: Archive, split: str, read: Callable[[str], bytes]) -> Images:
    file, key = archive.names
    names = tuple(unpickle(read(file))[key])
    pixels, labels, files = [], [], []
    for name in archive.batches[split]:
        batch = unpickle(read(name))
        pixels.append(_pixels(batch.get("data"), name))
        labels += _labels(batch.get(archive.labels), len(pixels[-1]), len(names), name)
        files += _files(batch.get("filenames"), len(pixels[-1]), name)
    order = sorted(range(len(files)), key=lambda i: (labels[i], files[i]))
    whole = torch.from_numpy(np.concatenate(pixels)[order]).permute(0, 2, 3, 1).contiguous()
    return Images(whole, torch.tensor(labels)[order], names)


def _pixels(data: object, file: str) -> np.ndarray:
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data[:1].size != 3072:
        raise ValueError(f"{file} is no batch of CIFAR: its data are no images of 3072 bytes")
    return data.reshape(-1, 3, 32, 32)


def _labels(labels: object, images: int, classes: int, file: str) -> list[int]:
    right = isinstance(labels, list) and len(labels) == images
    if not right or not all(isinstance(i, int) and 0 <= i < classes for i in labels):
        raise ValueError(f"{file} is no batch of CIFAR: its labels do not fit its {images} images")
    return labels


def _files(files: object, images: int, file: str) -> list[str]:
    right = isinstance(files, list) and len(files) == images
    if not right or not all(isinstance(name, str) for name in files):
        raise ValueError(f"{file} is no batch of CIFAR: it does not name the file of each image")
    return files


class _Restricted(pickle.Unpickler):
    """An unpickler of byte arrays. It refuses all other names of a pickle, so no code runs."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in REBUILDS:
            raise ValueError(f"it asks for {module}.{name}: this is no CIFAR")
        return REBUILDS[module, name]


def _empty(kind: object, shape: tuple[int, ...], code: object) -> np.ndarray:
    """An array without content; the content follows, so no pickle can claim memory."""
    return np.empty(0, np.uint8)


def _byte(code: str, align: bool = False, copy: bool = False) -> np.dtype:
    if code != "u1":
        raise ValueError(f"it asks for an array of {code}: this is no CIFAR")
    return np.dtype(np.uint8)


REBUILDS = {
    ("numpy.core.multiarray", "_reconstruct"): _empty,
    ("numpy._core.multiarray", "_reconstruct"): _empty,
    ("numpy", "ndarray"): None,
    ("numpy", "dtype"): _byte,
    ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),
}


def unpickle(data: bytes) -> dict:
    """The contents of one file of a CIFAR archive, which Python 2 wrote."""
    try:
        content = _Restricted(io.BytesIO(data), encoding="latin1").load()
    except Exception as error:  # damaged pickles raise nearly anything
        raise ValueError(f"a file of the archive cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise ValueError("a file of the archive holds no batch of CIFAR")
    return content
