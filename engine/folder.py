"""Class folders of images: `path/train/<class>/*.jpg` and `path/test/<class>/*.jpg`, in memory."""

import functools
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from engine.images import Images
from engine.source import Source

SUFFIXES = {".bmp", ".jpeg", ".jpg", ".png", ".webp"}


@dataclass(frozen=True, kw_only=True)
class Folder(Source):
    """Images of any size: the shorter side is resized to `image_size`, the centre is kept.

    They take 3·image_size² bytes each.
    """

    path: str

    def read(self, split: str) -> Images:
        images = read_folders(Path(self.path, split).expanduser(), self.image_size)
        train = class_names(Path(self.path, "train").expanduser())
        if list(images.classes) != train:
            different = ", ".join(sorted(set(images.classes) ^ set(train)))
            raise ValueError(f"{self.path}: not both in train and in {split}: {different}")
        return images


@functools.lru_cache(maxsize=2)  # the runs of one sweep share the decoded images
def read_folders(folder: Path, image_size: int) -> Images:
    """Decode every image below `folder/<class>/`; the classes are numbered by name."""
    classes = class_names(folder)
    files, labels = [], []
    for label, name in enumerate(classes):
        images = sorted(f for f in (folder / name).iterdir() if f.suffix.lower() in SUFFIXES)
        if not images:
            raise ValueError(f"{folder / name} holds no image ({', '.join(sorted(SUFFIXES))})")
        files += images
        labels += [label] * len(images)
    pixels = torch.empty(len(files), image_size, image_size, 3, dtype=torch.uint8)
    with ThreadPoolExecutor() as pool:
        decoded = pool.map(functools.partial(decode, image_size=image_size), files)
        bar = tqdm(decoded, f"reading {folder}", len(files), leave=False, disable=None)
        for i, image in enumerate(bar):
            pixels[i] = torch.from_numpy(image)
    return Images(pixels, torch.tensor(labels), tuple(classes))


def class_names(folder: Path) -> list[str]:
    """The folders in `folder`, by name; hidden ones are no classes."""
    entries = folder.iterdir() if folder.is_dir() else ()
    names = sorted(entry.name for entry in entries if entry.is_dir() and entry.name[0] != ".")
    if not names:
        raise FileNotFoundError(f"{folder} has no class folders: expected {folder}/<class>/*.jpg")
    return names


def decode(file: Path, image_size: int) -> np.ndarray:
    """One image as (image_size, image_size, 3) uint8, RGB."""
    try:
        with Image.open(file) as opened:
            image = opened.convert("RGB")
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file} cannot be read as an image: {error}") from error
    scale = image_size / min(image.size)
    if scale != 1:
        image = image.resize([max(image_size, round(side * scale)) for side in image.size])
    left, top = ((side - image_size) // 2 for side in image.size)
    return np.array(image.crop((left, top, left + image_size, top + image_size)))
