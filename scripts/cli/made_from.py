"""What a run of a configuration is made from: its images, its classes, its pretrained weights."""

from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from engine.errors import as_config_error
from engine.storage.archives import ARCHIVES, fetch_missing
from engine.storage.origin import Origin, digest_of_file, is_here, known_origin
from engine.storage.run_dir import RunDir
from scripts.cli.compose import build

UNSEEN = (
    "workers",
    "timeout",
    "val",
    "statistics",
    "stem",
    "channels",
)  # they leave the images alone


def require_images(cfg: DictConfig) -> None:
    """Download the images of CIFAR if they are missing; ConfigError if they cannot be downloaded.

    Torch is not imported: a first run without images learns at once what to do.
    """
    data = cfg.data
    if data._target_.endswith(".CIFAR") and data.name in ARCHIVES and isinstance(data.root, str):
        with as_config_error("data"):
            fetch_missing(data.name, Path(data.root).expanduser())


def made_from(cfg: DictConfig) -> Origin:
    """The origin of a run with the configuration `cfg`; ConfigError if its data cannot be read.

    Nothing is read, and torch is not imported, where the files are those of an earlier run.
    """
    weights = cfg.model.get("weights")
    data = OmegaConf.to_container(cfg.data, resolve=True)
    if data.get("root"):
        data["root"] = str(Path(data["root"]).expanduser().absolute())

    def read() -> Origin:
        with as_config_error("data"):
            origin = build(cfg.data).origin()
        file = Path(weights).expanduser() if weights else None
        return replace(origin, weights=digest_of_file(file) if file else None)

    options = {key: value for key, value in data.items() if key not in UNSEEN}
    return known_origin(Path(cfg.out), options, weights, read)


def compare_finished(folder: RunDir, cfg: DictConfig) -> None:
    """ConfigError if the finished run in `folder` was made from other data than these of `cfg`."""
    if folder.origin is None:
        print(f"{folder.path}: an older run, which does not know its data; they are not compared")
    elif not is_here(cfg.data):
        print(f"{folder.path}: there are no data at {cfg.data.root}; they are not compared")
    else:
        folder.compare_origin(made_from(cfg))
