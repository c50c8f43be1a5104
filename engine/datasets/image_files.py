"""List the images in class folders, `folder/<class>/*.jpg`, and their classes."""

import functools
import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from engine.datasets.decode import SUFFIXES
from engine.rng import permutation

ENCODED = tuple(map(os.fsencode, SUFFIXES))


@dataclass(frozen=True)
class ImageFiles:
    """`names` (N,) of files as bytes, `labels` (N,) int64; the order is by class, then by name.

    An array of bytes, for a million strings would be copied into each process that reads images.
    `left_out` counts what lies in the class folders and is no image: by suffix, and "folders".
    """

    folder: Path
    classes: tuple[str, ...]
    names: np.ndarray
    labels: Tensor
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> str:
        name = os.fsdecode(bytes(self.names[index]))
        return os.path.join(self.folder, self.classes[self.labels[index]], name)

    def take(self, indices: Tensor) -> "ImageFiles":
        indices = indices.cpu()
        return replace(self, names=self.names[indices.numpy()], labels=self.labels[indices])

    @property
    def digest(self) -> str:
        """SHA-256 of the classes, the names and the sizes, in order; no file is read."""
        found = hashlib.sha256()
        for i in range(len(self)):
            path = self.path(i)
            found.update(os.fsencode(os.path.relpath(path, self.folder)))
            found.update(b"\0%d\n" % os.stat(path).st_size)
        return found.hexdigest()

    @property
    def content_digest(self) -> str:
        """SHA-256 of the classes, the names and the contents of all files, in order."""
        found = hashlib.sha256()
        for i in range(len(self)):
            path = self.path(i)
            with open(path, "rb") as file:
                content = hashlib.file_digest(file, "sha256").digest()
            found.update(os.fsencode(os.path.relpath(path, self.folder)) + b"\0" + content)
        return found.hexdigest()


@functools.lru_cache(maxsize=4)  # the runs of one sweep share it
def find(folder: Path, classes: tuple[str, ...] | None = None) -> ImageFiles:
    """The images of all classes, or of the given ones; hidden files are left out."""
    classes = classes or tuple(class_names(folder))
    names: list[bytes] = []
    labels: list[int] = []
    left_out: Counter[str] = Counter()
    for label, name in enumerate(tqdm(classes, f"listing {folder}", leave=False, disable=None)):
        images, others = _entries(folder / name)
        left_out += others
        if not images:
            raise ValueError(f"{folder / name} holds no image ({', '.join(SUFFIXES)})")
        names += images
        labels += [label] * len(images)
    return ImageFiles(folder, classes, np.array(names), torch.tensor(labels), dict(left_out))


def _entries(folder: Path) -> tuple[list[bytes], Counter[str]]:
    """The names of the images in a class folder, sorted; and the number of other entries."""
    images, others = [], Counter()
    with os.scandir(os.fsencode(folder)) as entries:
        for entry in entries:
            if entry.name.startswith(b"."):
                continue
            if entry.name.lower().endswith(ENCODED):
                images.append(entry.name)
            else:
                others[_kind(entry)] += 1
    return sorted(images), others


def _kind(entry: os.DirEntry[bytes]) -> str:
    if entry.is_dir():
        return "folders"
    return os.fsdecode(os.path.splitext(entry.name)[1]) or "files without a suffix"


def class_names(folder: Path) -> list[str]:
    """The folders in `folder`, by name, without hidden ones."""
    with os.scandir(folder) if folder.is_dir() else nullcontext(()) as entries:
        names = sorted(entry.name for entry in entries if entry.name[0] != "." and entry.is_dir())
    if not names:
        raise FileNotFoundError(f"{folder} has no class folders: expected {folder}/<class>/*.jpg")
    return names


def part_of_each(labels: Tensor, fraction: float) -> Tensor:
    """Ascending indices of a share of the samples of each label, at least one of each label."""
    parts = []
    for label in labels.unique().tolist():
        of_label = (labels == label).nonzero()[:, 0]
        order = permutation(0, label, len(of_label))
        parts.append(of_label[order[: max(1, round(fraction * len(of_label)))]])
    return torch.cat(parts).sort().values
