"""A trained network for other code: the network, its transform, its classes. No code of a run runs.

from scripts.cli.trained import load_trained
trained = load_trained("runs/digits/resnet20/nam/digits/seed0")
probabilities = trained.model(trained.transform("picture.png")[None]).softmax(1)
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from engine.errors import ConfigError, as_config_error
from scripts.cli.compose import build
from scripts.cli.saved_run import classes_of, load_config, load_run

if TYPE_CHECKING:  # these import torch, and names are checked before
    from torch import Tensor, nn

    from engine.transforms.crop import CenterCrop


@dataclass(frozen=True)
class PictureTransform:
    """From a picture of any size to the input of the network, as in the evaluation of the run.

    The shorter side is resized to `crop.resize` pixels, the centre of `image_size` x `image_size`
    pixels is kept, and the channels get the mean 0 and the deviation 1 of the training images.
    """

    image_size: int
    crop: CenterCrop
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, picture: str | os.PathLike[str]) -> Tensor:
        """The file `picture` as (C, H, W) float32; ValueError if the file is no image."""
        import torch

        pixels = torch.from_numpy(self.pixels(picture)).permute(2, 0, 1) / 255
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return (pixels - mean) / std

    def pixels(self, picture: str | os.PathLike[str]) -> Any:
        """The file `picture`, cropped: an array (H, W, C) of uint8."""
        from engine.datasets.stream import read

        return read(os.fspath(picture), self.crop, self.image_size, [], len(self.mean))


@dataclass(frozen=True)
class Trained:
    """`model` in evaluation mode, from (N, C, H, W) to logits (N, classes); names by label."""

    model: nn.Module
    transform: PictureTransform
    classes: tuple[str, ...]

    @property
    def facts(self) -> dict[str, Any]:
        """What a program needs to use the network without this project, for JSON."""
        crop = self.transform.crop
        return {
            "classes": list(self.classes),
            "image_size": self.transform.image_size,
            "resize_shorter_side": crop.resize,
            "resampling": crop.resampling.name.lower(),
            "mean": list(self.transform.mean),
            "std": list(self.transform.std),
            "input": "float32 (N, C, H, W) in [0, 1], minus mean, divided by std",
            "output": "logits (N, classes)",
        }


def load_trained(run: str, root: str | None = None, device: str = "cpu") -> Trained:
    """The network of the run in the directory `run`, with the weights that are evaluated.

    `root` is the folder of the images; only a run that does not store its classes needs the images.
    ConfigError if the directory holds no run, or a run without weights.
    """
    return trained_of(run, load_config(run, root), device)


def trained_of(run: str, config: DictConfig, device: str) -> Trained:
    """The same with the configuration that the directory holds."""
    from engine.transforms.normalize import channel_statistics

    dataset = build(config.data)
    classes = classes_of(config) or _classes(dataset)
    if len(classes) != config.model.num_classes:
        raise ConfigError(f"run={run}: {len(classes)} class names for another number of classes")
    model = load_run(run, config, device).eval_model.eval().requires_grad_(False)
    statistics = channel_statistics(dataset.statistics, dataset.channels)
    return Trained(model, PictureTransform(dataset.image_size, dataset.crop, *statistics), classes)


def _classes(dataset: Any) -> tuple[str, ...]:
    with as_config_error("this older run does not store its classes, and its data cannot be read"):
        return tuple(dataset.read("test").classes)
