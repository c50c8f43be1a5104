"""Images in memory: one uint8 tensor on the device of the training."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from engine.datasets.classes import label_map
from engine.errors import ConfigError
from engine.rng import uniform
from engine.transforms.batch import Augment
from engine.transforms.crop import Crop


@dataclass(frozen=True)
class Images:
    """`pixels` (N, H, W, 3) uint8, `labels` (N,) int64, and the names of the classes."""

    pixels: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "Images":
        return Images(self.pixels.to(device), self.labels.to(device), self.classes)

    def take(self, indices: Tensor) -> "Images":
        return Images(self.pixels[indices], self.labels[indices], self.classes)

    def numbered_by(self, classes: Sequence[str]) -> "Images":
        """The same images, labelled by their class's place in `classes`."""
        labels = label_map(self.classes, classes).to(self.labels.device)[self.labels]
        return Images(self.pixels, labels, tuple(classes))

    @property
    def digest(self) -> str:
        """SHA-256 of all pixels and labels, in order."""
        found = hashlib.sha256(self.pixels.cpu().contiguous().numpy())
        found.update(self.labels.cpu().numpy())
        return found.hexdigest()

    def batches(
        self, indices: Iterable[Tensor], augment: Augment | Crop, seed: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """For each batch of `indices`: augmented pixels (N, H, W, 3) uint8, and labels (N,)."""
        if isinstance(augment, Crop):
            raise ConfigError(
                f"recipe.augment: {type(augment).__name__} acts on images while they are read, and "
                "these lie in memory: choose another recipe, or data=imagenet, which streams"
            )
        for batch in indices:
            draws = uniform(seed, epoch, batch, augment.draws)
            pixels = self.pixels.index_select(0, batch)  # image by image; [batch] goes by the byte
            yield augment(pixels, draws), self.labels[batch]
