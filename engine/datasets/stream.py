"""Images on disk: worker processes decode and crop the next batches during training."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from engine.datasets.classes import label_map
from engine.datasets.decode import Unreadable, decode, unreadable
from engine.datasets.image_files import ImageFiles
from engine.datasets.workers import Workers
from engine.errors import ConfigError, DataError
from engine.rng import uniform
from engine.transforms.batch import Augment, Identity
from engine.transforms.crop import CenterCrop, Crop


@dataclass(frozen=True)
class ReadOptions:
    """How images are read: size of the crop, of the shorter side in evaluation, processes."""

    image_size: int
    resize: int
    workers: int
    timeout: float  # seconds
    skip: bool = False  # leave out what cannot be read, in training
    channels: int = 3  # 1: grey, 4: RGBA


@dataclass(frozen=True)
class Task:
    """One batch; its pixels depend on nothing but these values."""

    crop: Crop
    seed: int
    epoch: int
    indices: tuple[int, ...]


@dataclass(frozen=True)
class Stream:
    """Like `Images`, but the images stay on disk; only `labels` are on the device."""

    files: ImageFiles
    reading: ReadOptions
    labels: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    def to(self, device: torch.device | str) -> "Stream":
        return replace(self, labels=self.labels.to(device))

    def numbered_by(self, classes: Sequence[str]) -> "Stream":
        """The same images, labelled by their class's place in `classes`."""
        labels = label_map(self.classes, classes).to(self.labels.device)[self.labels]
        return replace(self, labels=labels, classes=tuple(classes))

    @property
    def digest(self) -> str:
        """SHA-256 of the names and the sizes of all files, in order; no image is read."""
        return self.files.digest

    def take(self, indices: Tensor) -> "Stream":
        return replace(self, files=self.files.take(indices), labels=self.labels[indices])

    def batches(
        self, indices: Iterable[Tensor], augment: Augment | Crop, seed: int, epoch: int
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """For each batch of `indices`: pixels (N, H, W, C) uint8 and labels (N,), on the device.

        `augment` is a Crop; Identity, as in evaluation, is the centre crop. An image that cannot be
        read is an error; where it may be skipped, in training, its batch is smaller by it.
        """
        crop = self._crop(augment)
        skip = self.reading.skip and not isinstance(augment, Identity)
        indices = list(indices)
        if not indices:
            return
        on_cpu = torch.cat(indices).cpu().split([len(batch) for batch in indices])
        tasks = (Task(crop, seed, epoch, tuple(batch.tolist())) for batch in on_cpu)
        left_out: list[str] = []
        results = self._workers.map(tasks)
        for batch, (pixels, failures) in zip(indices, results, strict=True):
            if failures:
                batch, pixels = _without(batch, pixels, failures, skip)
                left_out += failures.values()
            pixels = pixels.to(self.labels.device, non_blocking=True)
            draws = uniform(seed, epoch, batch, crop.draws + crop.then.draws)[:, crop.draws :]
            yield crop.then(pixels, draws), self.labels[batch]
        if left_out:
            _say(f"{len(left_out)} of {sum(map(len, indices))} images left out: {left_out[0]}")

    def _crop(self, augment: Augment) -> Crop:
        if isinstance(augment, Identity):
            return CenterCrop(self.reading.resize)
        if isinstance(augment, Crop):
            return augment
        raise ConfigError(
            f"recipe.augment: {type(augment).__name__} acts on images in memory, and these are "
            "streamed: choose a recipe with ResizedCrop, such as recipe=imagenet_90ep"
        )

    @cached_property
    def _workers(self) -> Workers:
        work = partial(read_batch, self.files, self.reading)
        on_device = self.labels.device.type == "cuda"
        return Workers(work, self.reading.workers, self.reading.timeout, pin_memory=on_device)


def read_batch(
    files: ImageFiles, reading: ReadOptions, task: Task
) -> tuple[Tensor, dict[int, str]]:
    """Pixels (N, size, size, C) uint8, and position -> error for each unreadable image."""
    size, channels = reading.image_size, reading.channels
    pixels = torch.zeros(len(task.indices), size, size, channels, dtype=torch.uint8)
    draws = uniform(task.seed, task.epoch, torch.tensor(task.indices), task.crop.draws).tolist()
    failures = {}
    for i, index in enumerate(task.indices):
        try:
            image = read(files.path(index), task.crop, size, draws[i], channels)
        except Unreadable as error:
            failures[i] = str(error)
        else:
            pixels[i] = torch.from_numpy(image)
    return pixels, failures


def read(file: str, crop: Crop, size: int, draws: list[float], channels: int) -> np.ndarray:
    """One image, cropped: (size, size, channels) uint8."""
    image = decode(file, channels)
    try:
        return np.array(crop.cut(image, size, draws)).reshape(size, size, channels)
    except ValueError as error:
        raise unreadable(file, error) from error


def _without(
    batch: Tensor, pixels: Tensor, failures: dict[int, str], skip: bool
) -> tuple[Tensor, Tensor]:
    if not skip:
        first = next(iter(failures.values()))
        raise DataError(f"{first}; mend or remove it, or leave such out: data.corrupt=skip")
    kept = torch.tensor([i for i in range(len(batch)) if i not in failures], dtype=torch.int64)
    if len(kept) < 2:  # batch norm needs two
        raise DataError(f"a batch has {len(kept)} images that can be read: {failures}")
    return batch[kept.to(batch.device)], pixels[kept]


def _say(line: str) -> None:
    tqdm.write(f"data: {line}", file=sys.stderr)
