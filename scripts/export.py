"""Write a trained network as one file: `python scripts/export.py run=DIR format=onnx`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the packages of this checkout, before others

import warnings
from typing import TYPE_CHECKING, Literal

from omegaconf import DictConfig, OmegaConf

from engine.errors import ConfigError, RunError, as_config_error
from engine.storage.atomic import replacing
from scripts.cli.app import run_app
from scripts.cli.saved_run import load_config, load_dataset, load_images
from scripts.cli.trained import Trained, trained_of
from scripts.cli.type_check import check_options

if TYPE_CHECKING:  # torch: not before the names are checked
    from torch import Tensor

OPTIONS = {
    "run": str,
    "format": Literal["onnx", "torchscript", "exported", "safetensors"],
    "to": str | None,
    "root": str | None,
}
COMPARED = 32  # images on which the file and the network are compared
TOLERANCE = 1e-3  # of the largest output


def main(cfg: DictConfig) -> None:
    """Write the file, compare it with the network, and print both."""
    check_options(OmegaConf.to_container(cfg, throw_on_missing=True), OPTIONS)
    config = load_config(cfg.run, cfg.root)
    from engine.export import FORMATS, largest_difference

    trained, form = trained_of(cfg.run, config, "cpu"), FORMATS[cfg.format]
    images, which = compared(config, trained)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's exporters warn about themselves
        content = form.pack(trained.model, images, trained.facts)
        function = form.unpack(content, trained.model)
        difference, largest = largest_difference(function, trained.model, images)
    if not difference <= TOLERANCE * largest:
        raise RunError(
            f"format={cfg.format}: the outputs differ by {difference:.2g} from those of the "
            f"network, whose largest is {largest:.2g}; no file was written"
        )
    path = Path(cfg.to or Path(cfg.run, f"network{form.suffix}"))
    with as_config_error("to"):
        path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as file:
        file.write(content)
    print(f"{path}: {len(content):,} bytes, {len(trained.classes)} classes")
    print(f"largest difference to the network on {which}: {difference:.2g} of {largest:.2g}")


def compared(config: DictConfig, trained: Trained) -> tuple[Tensor, str]:
    """Inputs (N, C, H, W) for the comparison: test images, or random ones; and their name."""
    import torch

    from engine.transforms.batch import Identity

    size = trained.transform.image_size
    try:
        images = load_images(config, "test")
        indices = torch.arange(min(COMPARED, len(images)))
        ((pixels, _),) = images.batches([indices], Identity(), 0, 0)
    except ConfigError:
        generator = torch.Generator().manual_seed(0)
        shape = (COMPARED, len(trained.transform.mean), size, size)
        return torch.randn(shape, generator=generator), "random images (no test images are here)"
    return load_dataset(config, "test").normalize(pixels), f"{len(indices)} test images"


if __name__ == "__main__":
    run_app(main, "export")
