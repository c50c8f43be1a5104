"""Load a run from its directory: its configuration, its data set, its network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from engine.errors import ConfigError, as_config_error, first_line
from engine.seeds import Seeds
from engine.storage.origin import Origin
from engine.storage.renamed import modernize
from engine.storage.run_dir import MADE_FROM
from engine.storage.strict import parse_yaml, read_text
from scripts.cli.compose import build, check_names

if TYPE_CHECKING:  # these import torch, and names are checked before
    from engine.datasets.dataset import ImageDataset
    from engine.datasets.in_memory import Images
    from engine.datasets.stream import Stream
    from engine.training.run import Run


def load_config(run: str, root: str | None) -> DictConfig:
    """The configuration in the directory `run`, its names checked.

    `root` is the folder of the images, if they were moved since training. ConfigError if there is
    no configuration.
    """
    path = Path(run, "config.yaml")
    stored = OmegaConf.create(modernize(_read(path)))
    for key, kind in {"data": DictConfig, "model": DictConfig, "recipe": DictConfig}.items():
        if not isinstance(stored.get(key), kind):
            raise ConfigError(f"{path}: {key} is no group of options; restore the file")
    check_names(stored, stored)
    Seeds.of(stored)
    stored.model.weights = None  # the checkpoint replaces them
    if root is not None and "root" not in stored.data:
        raise ConfigError(f"root={root}: the data set of {run} lies in no folder; leave it out")
    if "root" in stored.data:
        beside = _beside_runs(str(stored.data.root), str(stored.get("out")), Path(run).absolute())
        stored.data.root = root or beside
    if (trained := classes_of(stored)) and stored.data.get("classes"):
        stored.data.classes = list(trained)
    return stored


def _beside_runs(root: str, out: str, run: Path) -> str:
    """A relative `root`, from the folder in which the run was started, known by `out` below it.

    So a run is evaluated from any folder, and after its runs and images have moved together.
    """
    started = [folder for folder in run.parents if folder / out in run.parents]
    found = [folder / root for folder in started if (folder / root).exists()]
    return str(found[0]) if found and not Path(root).exists() else root


def _read(path: Path) -> dict[str, Any]:
    """The mapping in a stored config.yaml; all values of one are resolved."""
    try:
        text = read_text(path)
        if "${" in text:
            raise ValueError("it holds ${...}; a run stores plain values")
        return parse_yaml(text)
    except FileNotFoundError as error:
        raise ConfigError(
            f"run={path.parent}: there is no config.yaml; a run's directory ends in seed<k>"
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {first_line(error)}") from error


def classes_of(config: DictConfig) -> tuple[str, ...] | None:
    """The classes that a run was trained on, by label; None for a run that does not know them."""
    origin = OmegaConf.to_container(config).get(MADE_FROM)
    return None if origin is None else Origin.of(origin).classes


def load_dataset(config: DictConfig, split: str) -> ImageDataset:
    """The data set of a run; ConfigError if it has no such split."""
    dataset = build(config.data)
    if split not in dataset.splits:
        raise ConfigError(f"split={split}: choose from {', '.join(dataset.splits)}")
    return dataset


def load_images(config: DictConfig, split: str) -> Images | Stream:
    """The images of a split, labelled as the run of `config` knows their classes.

    ConfigError if they cannot be read, or have a class that the run was not trained on.
    """
    dataset = load_dataset(config, split)
    with as_config_error("data"):
        try:
            return dataset.load(split, classes_of(config))
        except FileNotFoundError as error:
            raise FileNotFoundError(f"{error}; if the images lie elsewhere: root=FOLDER") from error


def load_run(run: str, config: DictConfig, device: str) -> Run:
    """The run with the state of its newest checkpoint, or else with its final weights.

    ConfigError if the directory holds neither.
    """
    from engine.training.run import Run

    seeds, precision = Seeds.of(config), config.precision
    loaded = Run(build(config.model), build(config.recipe), seeds, device, precision)
    with as_config_error("run"):
        if loaded.load_checkpoint(Path(run)) is None:
            loaded.load_weights(Path(run))
    return loaded
