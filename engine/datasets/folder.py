"""Class folders of images: `path/train/<class>/*.jpg` and `path/test/<class>/*.jpg`, in memory."""

import functools
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from engine.datasets.dataset import ImageDataset
from engine.datasets.decode import decode, unreadable
from engine.datasets.image_files import ImageFiles, find, same_classes
from engine.datasets.in_memory import Images
from engine.transforms.crop import center_crop


@dataclass(frozen=True, kw_only=True)
class Folder(ImageDataset):
    """Images of any size: the shorter side becomes `image_size` pixels, the centre is kept.

    An image takes 3·image_size² bytes. ValueError if all images take more than half of the memory.
    """

    path: str

    def read(self, split: str) -> Images:
        root = Path(self.path).expanduser()
        same_classes(root, split)
        return read_folders(root / split, self.image_size)


@functools.lru_cache(maxsize=2)  # the runs of one sweep share the decoded images
def read_folders(folder: Path, image_size: int) -> Images:
    """Decode every image below `folder/<class>/`; the classes are numbered by name."""
    files = find(folder)
    _require_memory(files, image_size)
    pixels = torch.empty(len(files), image_size, image_size, 3, dtype=torch.uint8)
    paths = map(files.path, range(len(files)))
    with ThreadPoolExecutor() as pool:
        decoded = pool.map(functools.partial(read, image_size=image_size), paths)
        bar = tqdm(decoded, f"reading {folder}", len(files), leave=False, disable=None)
        for i, image in enumerate(bar):
            pixels[i] = torch.from_numpy(image)
    return Images(pixels, files.labels, files.classes)


def _require_memory(files: ImageFiles, image_size: int) -> None:
    needed = len(files) * 3 * image_size**2
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory / 2:
        raise ValueError(
            f"{len(files):,} images of {image_size} pixels take {needed / 1e9:.1f} GB of "
            f"{memory / 1e9:.1f}; stream them: data=imagenet data.classes=null data.root=... "
            f"data.image_size={image_size}, and a recipe with engine.transforms.ResizedCrop"
        )


def read(file: str | Path, image_size: int) -> np.ndarray:
    """One image as (image_size, image_size, 3) uint8, RGB; ValueError names an unreadable file."""
    image = decode(file)
    try:
        cut = center_crop(image, image_size, image_size, Image.Resampling.BICUBIC)
    except ValueError as error:
        raise unreadable(file, error) from error
    return np.array(cut)
