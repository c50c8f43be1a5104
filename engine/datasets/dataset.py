"""The base of all data sets: options, splits, statistics."""

import hashlib
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image
from tqdm import tqdm

from engine.datasets.classes import short_list
from engine.datasets.in_memory import Images
from engine.datasets.stream import Stream
from engine.distributed.ranks import Ranks
from engine.errors import as_config_error
from engine.rng import permutation
from engine.storage.origin import Origin
from engine.transforms.crop import CenterCrop
from engine.transforms.normalize import Normalize


@dataclass(frozen=True, kw_only=True)
class ImageDataset(ABC):
    """A data set. `stem` is the one its images want of a network, which reads it from here.

    `val` training images can be held out, the same for every seed. They are then what is looked
    at after each epoch, and the test set is measured once, after the last. `channels`: 1 for grey
    images, 3 for RGB, 4 for RGBA, where the class allows them.
    """

    CHANNELS = (3,)

    num_classes: int
    image_size: int
    statistics: str
    stem: str = "cifar"
    val: int = 0
    channels: int = 3

    def __post_init__(self) -> None:
        if self.image_size < 1 or self.num_classes < 1:
            raise ValueError("image_size and num_classes must be positive")
        if self.val < 0:
            raise ValueError(f"val must be 0 or more images, got {self.val}")
        if self.channels not in self.CHANNELS:
            allowed = ", ".join(map(str, self.CHANNELS))
            raise ValueError(f"channels={self.channels}: expected {allowed}")
        Normalize(self.statistics, self.channels)

    @abstractmethod
    def read(self, split: str) -> Images | Stream:
        """All images of "train" or of "test"; the order never changes."""

    @property
    def normalize(self) -> Normalize:
        return Normalize(self.statistics, self.channels)

    @property
    def crop(self) -> CenterCrop:
        """How a picture of any size becomes an image of `image_size` pixels to be evaluated."""
        return CenterCrop(self.image_size, Image.Resampling.BICUBIC)

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train", "val", "test") if self.val else ("train", "test")

    def digest(self, split: str) -> str:
        """SHA-256 of the images of "train" or of "test", in order."""
        return self.read(split).digest

    def left_out(self, split: str) -> Mapping[str, int]:
        """What lies beside the images of "train" or "test" and is not read: kind -> number."""
        return {}

    def origin(self) -> Origin:
        """The number of images, the classes and the digest of what a run is trained on."""
        read = {split: self.read(split) for split in ("train", "test")}
        digests = [self.digest(split) for split in read]
        return Origin(
            {split: len(images) for split, images in read.items()},
            tuple(read["train"].classes),
            hashlib.sha256("".join(digests).encode()).hexdigest(),
        )

    def load(self, split: str, trained: Sequence[str] | None = None) -> Images | Stream:
        """The images of a split: "train" without the held-out images, "val" with them, "test".

        `trained` are the classes of a trained network, by label: the labels are those of the
        network. ValueError if there is a class that is not among them.
        """
        images = self.read("test" if split == "test" else "train")
        if trained is None and split == "test":
            _require_same(self.read("train").classes, images.classes)
        if trained is not None and tuple(images.classes) != tuple(trained):
            there, images = images.classes, images.numbered_by(trained)
            _say(f"{len(there)} of the run's {len(trained)} classes are here, labelled by name")
        if len(images.classes) != self.num_classes:
            raise ValueError(f"num_classes={self.num_classes}, but there are {len(images.classes)}")
        if self.num_classes == 1:
            raise ValueError(f"only one class, {images.classes[0]}: there is nothing to tell apart")
        if split == "test":
            return images
        if self.val >= len(images):
            raise ValueError(f"val={self.val} leaves none of the {len(images)} training images")
        order = permutation(0, 0, len(images))
        part = order[: self.val] if split == "val" else order[self.val :]
        return images.take(part.sort().values)

    def load_all(self, device: str, batch_size: int, ranks: Ranks) -> dict[str, Images | Stream]:
        """All splits, on `device`; ConfigError if one is missing, or too small for the ranks."""
        with as_config_error("data"):
            images = {split: self.load(split).to(device) for split in self.splits}
        ranks.require_enough_images(batch_size, *map(len, images.values()))
        return images

    def describe(self, images: Mapping[str, Images | Stream]) -> str:
        """The images of each split, the classes, and what was left out, in one line."""
        counts = ", ".join(f"{len(of):,} {split}" for split, of in images.items())
        lines = [f"{counts} images of {self.num_classes} classes"]
        for split in ("train", "test"):
            if others := self.left_out(split):
                kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(others.items()))
                lines.append(f"left out of {split}: {kinds}")
        return "; ".join(lines)

    def eval_splits(self, last: bool) -> tuple[str, ...]:
        """The splits to evaluate after an epoch; the test set after the `last` one."""
        if not self.val:
            return ("test",)
        return ("val", "test") if last else ("val",)


def _require_same(train: Sequence[str], test: Sequence[str]) -> None:
    if different := sorted({*train} ^ {*test}):
        raise ValueError(f"not both in train and in test: {short_list(different)}")


def _say(line: str) -> None:
    tqdm.write(f"data: {line}", file=sys.stderr)
