"""Load a run from its directory: its configuration, its data set, its network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from engine.errors import ConfigError, as_config_error
from engine.storage.renamed import modernize
from scripts.cli.compose import build, check_names

if TYPE_CHECKING:  # these import torch, and names are checked before
    from engine.datasets.dataset import ImageDataset
    from engine.training.run import Run


def load_config(run: str, root: str | None) -> DictConfig:
    """The configuration in the directory `run`, its names checked.

    `root` is the folder of the images, if they were moved since training. ConfigError if there is
    no configuration.
    """
    path = Path(run, "config.yaml")
    if not path.is_file():
        raise ConfigError(f"run={run}: there is no config.yaml; a run's directory ends in seed<k>")
    stored = OmegaConf.create(modernize(OmegaConf.to_container(OmegaConf.load(path))))
    check_names(stored, stored)
    stored.model.weights = None  # the checkpoint replaces them
    if root is not None:
        stored.data.root = root
    return stored


def load_dataset(config: DictConfig, split: str) -> ImageDataset:
    """The data set of a run; ConfigError if it has no such split."""
    dataset = build(config.data)
    if split not in dataset.splits:
        raise ConfigError(f"split={split}: choose from {', '.join(dataset.splits)}")
    return dataset


def load_run(run: str, config: DictConfig, device: str) -> Run:
    """The run with the state of its newest checkpoint, or else with its final weights.

    ConfigError if the directory holds neither.
    """
    from engine.training.run import Run

    loaded = Run(build(config.model), build(config.recipe), config.seed, device, config.precision)
    with as_config_error("run"):
        if not loaded.resume(Path(run)):
            loaded.load_weights(Path(run))
    return loaded
