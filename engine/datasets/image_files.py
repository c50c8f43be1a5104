"""List the images in class folders, `folder/<class>/*.jpg`, and their classes."""

import difflib
import functools
import os
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from engine.datasets.decode import SUFFIXES

ENCODED = tuple(map(os.fsencode, SUFFIXES))


@dataclass(frozen=True)
class ImageFiles:
    """`names` (N,) of files as bytes, `labels` (N,) int64; the order is by class, then by name.

    An array of bytes, for a million strings would be copied into each process that reads images.
    """

    folder: Path
    classes: tuple[str, ...]
    names: np.ndarray
    labels: Tensor

    def __len__(self) -> int:
        return len(self.names)

    def path(self, index: int) -> str:
        name = os.fsdecode(bytes(self.names[index]))
        return os.path.join(self.folder, self.classes[self.labels[index]], name)

    def take(self, indices: Tensor) -> "ImageFiles":
        indices = indices.cpu()
        return ImageFiles(
            self.folder, self.classes, self.names[indices.numpy()], self.labels[indices]
        )


@functools.lru_cache(maxsize=4)  # the runs of one sweep share it
def find(folder: Path, classes: tuple[str, ...] | None = None) -> ImageFiles:
    """The images of all classes, or of the given ones; hidden files are left out."""
    classes = classes or tuple(class_names(folder))
    names: list[bytes] = []
    labels: list[int] = []
    for label, name in enumerate(tqdm(classes, f"listing {folder}", leave=False, disable=None)):
        images = sorted(_images(folder / name))
        if not images:
            raise ValueError(f"{folder / name} holds no image ({', '.join(SUFFIXES)})")
        names += images
        labels += [label] * len(images)
    return ImageFiles(folder, classes, np.array(names), torch.tensor(labels))


def _images(folder: Path) -> Iterable[bytes]:
    with os.scandir(os.fsencode(folder)) as entries:
        for entry in entries:
            if entry.name.lower().endswith(ENCODED) and not entry.name.startswith(b"."):
                yield entry.name


def class_names(folder: Path) -> list[str]:
    """The folders in `folder`, by name, without hidden ones."""
    with os.scandir(folder) if folder.is_dir() else nullcontext(()) as entries:
        names = sorted(entry.name for entry in entries if entry.name[0] != "." and entry.is_dir())
    if not names:
        raise FileNotFoundError(f"{folder} has no class folders: expected {folder}/<class>/*.jpg")
    return names


def same_classes(root: Path, split: str) -> None:
    """ValueError if the classes of `root/split` are not those of `root/train`."""
    different = set(class_names(root / split)) ^ set(class_names(root / "train"))
    if different:
        names = ", ".join(sorted(different)[:10]) + (", ..." if len(different) > 10 else "")
        raise ValueError(f"{root}: not both in train and in {split}: {names}")


def choose(there: Sequence[str], wanted: int | Sequence[str] | None) -> tuple[str, ...]:
    """The classes `there`; or the first so many; or those named, in the order they are there."""
    if wanted is None:
        return tuple(there)
    if isinstance(wanted, int):
        if not 1 <= wanted <= len(there):
            raise ValueError(f"classes={wanted}, but there are {len(there)} (all: classes=null)")
        return tuple(there[:wanted])
    for name in wanted:
        if name not in there:
            near = difflib.get_close_matches(name, there, 1)
            hint = f"; did you mean {near[0]}?" if near else f", of {len(there)}"
            raise ValueError(f"classes: there is no {name}{hint}")
    return tuple(name for name in there if name in wanted)
