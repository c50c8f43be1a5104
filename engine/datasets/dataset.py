"""The base of all data sets: options, splits, statistics."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from engine.datasets.in_memory import Images
from engine.datasets.stream import Stream
from engine.distributed.ranks import Ranks
from engine.errors import as_config_error
from engine.rng import permutation
from engine.transforms.normalize import Normalize


@dataclass(frozen=True, kw_only=True)
class ImageDataset(ABC):
    """A data set. `stem` is the one its images want of a network, which reads it from here.

    `val` training images can be held out, the same for every seed. They are then what is looked
    at after each epoch, and the test set is measured once, after the last.
    """

    num_classes: int
    image_size: int
    statistics: str
    stem: str = "cifar"
    val: int = 0

    def __post_init__(self) -> None:
        if self.image_size < 1 or self.num_classes < 1:
            raise ValueError("image_size and num_classes must be positive")
        if self.val < 0:
            raise ValueError(f"val must be 0 or more images, got {self.val}")
        Normalize(self.statistics)

    @abstractmethod
    def read(self, split: str) -> Images | Stream:
        """All images of "train" or of "test"; the order never changes."""

    @property
    def normalize(self) -> Normalize:
        return Normalize(self.statistics)

    @property
    def splits(self) -> tuple[str, ...]:
        return ("train", "val", "test") if self.val else ("train", "test")

    def load(self, split: str) -> Images | Stream:
        """The images of a split: "train" without the held-out images, "val" with them, "test"."""
        images = self.read("test" if split == "test" else "train")
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

    def eval_splits(self, last: bool) -> tuple[str, ...]:
        """The splits to evaluate after an epoch; the test set after the `last` one."""
        if not self.val:
            return ("test",)
        return ("val", "test") if last else ("val",)
