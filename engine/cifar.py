"""CIFAR-10 and CIFAR-100 in each of the shapes they are found in, read without running their code.

The published archives are pickles. They are read from inside the `.tar.gz`, whose SHA-256 is
checked, or from the unpacked folder, by an unpickler that knows byte strings and arrays only.
"""

import functools
import hashlib
import io
import pickle
import tarfile
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from engine.folder import read_folders
from engine.images import Images
from engine.source import Source


@dataclass(frozen=True)
class Archive:
    """One published archive: where it is, what it must hash to, and what is inside."""

    file: str
    size: int
    sha256: str
    folder: str
    batches: dict[str, tuple[str, ...]]
    labels: str
    names: tuple[str, str]  # the file with the class names, and their key in it

    @property
    def url(self) -> str:
        return f"https://www.cs.toronto.edu/~kriz/{self.file}"


ARCHIVES = {
    "cifar100": Archive(
        file="cifar-100-python.tar.gz",
        size=169_001_437,
        sha256="85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
        folder="cifar-100-python",
        batches={"train": ("train",), "test": ("test",)},
        labels="fine_labels",
        names=("meta", "fine_label_names"),
    ),
    "cifar10": Archive(
        file="cifar-10-python.tar.gz",
        size=170_498_071,
        sha256="6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
        folder="cifar-10-batches-py",
        batches={
            "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
            "test": ("test_batch",),
        },
        labels="labels",
        names=("batches.meta", "label_names"),
    ),
}


@dataclass(frozen=True, kw_only=True)
class CIFAR(Source):
    """`name` is cifar10 or cifar100; `root` holds it in one of its shapes, or gets the archive."""

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
    for folder in (here, here / archive.folder):
        if (folder / archive.batches["test"][0]).is_file():
            return _from_batches(archive, split, lambda file, of=folder: (of / file).read_bytes())
    if (here / split).is_dir():
        return read_folders(here / split, image_size=32)
    path = here / archive.file
    if not path.is_file():
        download(archive, path)
    return _from_tar(archive, path, split)


def _from_tar(archive: Archive, path: Path, split: str) -> Images:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != archive.sha256:
        raise ValueError(f"{path} is damaged or another file: its SHA-256 is {found}; delete it")
    with tarfile.open(path) as tar:  # members are read by name; nothing is unpacked
        return _from_batches(
            archive, split, lambda file: tar.extractfile(f"{archive.folder}/{file}").read()
        )


def _from_batches(archive: Archive, split: str, read: Callable[[str], bytes]) -> Images:
    batches = [unpickle(read(file)) for file in archive.batches[split]]
    pixels = np.concatenate([batch["data"] for batch in batches]).reshape(-1, 3, 32, 32)
    labels = [label for batch in batches for label in batch[archive.labels]]
    file, key = archive.names
    return Images(
        torch.from_numpy(pixels).permute(0, 2, 3, 1).contiguous(),
        torch.tensor(labels),
        tuple(unpickle(read(file))[key]),
    )


class _Restricted(pickle.Unpickler):
    """Rebuilds arrays of numbers, and refuses every other name a pickle can ask for."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in REBUILDS:
            raise ValueError(f"the archive asks for {module}.{name}: this is no CIFAR")
        return REBUILDS[module, name]


REBUILDS = {
    ("numpy.core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): np._core.multiarray._reconstruct,
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),
}


def unpickle(data: bytes) -> dict:
    """One batch of a CIFAR archive, which was written by Python 2."""
    return _Restricted(io.BytesIO(data), encoding="latin1").load()


def download(archive: Archive, path: Path) -> None:
    """Fetch the archive to `path`, whole and verified, or leave nothing there."""
    how = f"put {archive.file} ({archive.size:,} bytes) from {archive.url} there"
    try:
        response = urllib.request.urlopen(archive.url, timeout=30)
    except (urllib.error.URLError, OSError) as error:
        raise FileNotFoundError(
            f"no {archive.folder}/, {archive.file} or train/<class>/ in {path.parent}, "
            f"and it cannot be downloaded ({getattr(error, 'reason', error)}); {how}"
        ) from error
    part = path.with_suffix(".part")
    digest = hashlib.sha256()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with response, part.open("wb") as file, _bytes_bar(archive) as bar:
            while chunk := response.read(1 << 18):
                file.write(chunk)
                digest.update(chunk)
                bar.update(len(chunk))
        if digest.hexdigest() != archive.sha256:
            raise ValueError(f"{archive.url} sent something else than expected; {how}")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _bytes_bar(archive: Archive) -> tqdm:
    return tqdm(total=archive.size, unit="B", unit_scale=True, desc=archive.file)
