"""Class folders of images in memory: `root/train/<class>/*.jpg` and `root/test/<class>/*.jpg`.

The test images may lie in `root/val`; or one set of class folders, `root/<class>/*.jpg`, is split.
"""

import functools
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from engine.datasets.dataset import ImageDataset
from engine.datasets.decode import MODES, decode, unreadable
from engine.datasets.image_files import ImageFiles, find, part_of_each
from engine.datasets.in_memory import Images
from engine.transforms.crop import center_crop


@dataclass(frozen=True, kw_only=True)
class Folder(ImageDataset):
    """Images of any size: the shorter side becomes `image_size` pixels, the centre is kept.

    `name` is what the runs call the data set; null: the name of the folder `root`. `split` is for
    class folders without train and test: the share of each class's images that is the test set, the
    same for every seed. An image takes channels·image_size² bytes. ValueError if all images take
    more than half of the memory.
    """

    CHANNELS = tuple(MODES)

    root: str
    name: str | None = None
    split: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.split is not None and not 0 < self.split < 1:
            raise ValueError(f"split must lie between 0 and 1, got {self.split}")

    def read(self, split: str) -> Images:
        images = read_folders(self._folder(split), self.image_size, self.channels)
        return images if self.split is None else images.take(self._part(images.labels, split))

    def digest(self, split: str) -> str:
        """SHA-256 of the files' contents: another decoder gives other pixels of the same images."""
        files = find(self._folder(split))
        if self.split is not None:
            files = files.take(self._part(files.labels, split))
        return files.content_digest

    def left_out(self, split: str) -> Mapping[str, int]:
        return find(self._folder(split)).left_out

    def _part(self, labels: Tensor, split: str) -> Tensor:
        test = part_of_each(labels, self.split)
        everything = torch.arange(len(labels))
        return test if split == "test" else everything[~torch.isin(everything, test)]

    def _folder(self, split: str) -> Path:
        root = Path(self.root).expanduser()
        divided = (root / "train").is_dir() or (root / "test").is_dir()
        if self.split is not None and divided:
            raise ValueError(f"split={self.split}: {root} holds train or test; leave split out")
        if self.split is None and not divided and root.is_dir():
            raise ValueError(
                f"{root} has no train/<class>/*.jpg; class folders that are not divided into train "
                "and test need a share of test images, such as data.split=0.2"
            )
        if self.split is not None:
            return root
        in_val = split == "test" and not (root / "test").is_dir() and (root / "val").is_dir()
        return root / ("val" if in_val else split)


@functools.lru_cache(maxsize=2)  # the runs of one sweep share the decoded images
def read_folders(folder: Path, image_size: int, channels: int = 3) -> Images:
    """Decode every image below `folder/<class>/`; the classes are numbered by name."""
    files = find(folder)
    _require_memory(files, image_size, channels)
    pixels = torch.empty(len(files), image_size, image_size, channels, dtype=torch.uint8)
    paths = map(files.path, range(len(files)))
    with ThreadPoolExecutor() as pool:
        decoded = pool.map(functools.partial(read, image_size=image_size, channels=channels), paths)
        bar = tqdm(decoded, f"reading {folder}", len(files), leave=False, disable=None)
        for i, image in enumerate(bar):
            pixels[i] = torch.from_numpy(image)
    return Images(pixels, files.labels, files.classes)


def _require_memory(files: ImageFiles, image_size: int, channels: int) -> None:
    needed = len(files) * channels * image_size**2
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory / 2:
        raise ValueError(
            f"{len(files):,} images of {image_size} pixels take {needed / 1e9:.1f} GB of "
            f"{memory / 1e9:.1f}; stream them: data=imagenet data.classes=null data.root=... "
            f"data.image_size={image_size}, and a recipe with engine.transforms.ResizedCrop"
        )


def read(file: str | Path, image_size: int, channels: int = 3) -> np.ndarray:
    """One image as (image_size, image_size, channels) uint8; ValueError names a damaged file."""
    image = decode(file, channels)
    try:
        cut = center_crop(image, image_size, image_size, Image.Resampling.BICUBIC)
    except ValueError as error:
        raise unreadable(file, error) from error
    return np.array(cut).reshape(image_size, image_size, channels)
