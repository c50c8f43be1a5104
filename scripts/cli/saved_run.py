"""Runs on disk, built again from the configuration that lies with them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from engine.errors import ConfigError, as_config_error
from engine.storage.renamed import modernize
from scripts.cli.app import build, check_names

if TYPE_CHECKING:  # it imports torch, which waits until every name is checked
    from engine.datasets.dataset import ImageDataset
    from engine.training.run import Run


def stored_config(run: str, root: str | None) -> DictConfig:
    """What the run was asked for, checked like any other configuration before it is used.

    `root` is where its images lie, if not where they were in training.
    """
    path = Path(run, "config.yaml")
    if not path.is_file():
        raise ConfigError(f"run={run}: there is no config.yaml; a run's directory ends in seed<k>")
    stored = OmegaConf.create(modernize(OmegaConf.to_container(OmegaConf.load(path))))
    check_names(stored, stored)
    stored.model.weights = None  # the checkpoint's come after them anyway
    if root is not None:
        stored.data.root = root
    return stored


def stored_source(config: DictConfig, split: str) -> ImageDataset:
    """Its images; ConfigError where there is no such split."""
    source = build(config.data)
    if split not in source.splits:
        raise ConfigError(f"split={split}: this run has {', '.join(source.splits)}")
    return source


def stored_run(run: str, config: DictConfig, device: str) -> Run:
    """The run itself, from its newest checkpoint."""
    from engine.training.run import Run

    found = Run(build(config.model), build(config.recipe), config.seed, device, config.precision)
    with as_config_error("run"):
        if not found.resume(Path(run)):
            raise FileNotFoundError(f"{run} holds no checkpoint that can be used")
    return found
