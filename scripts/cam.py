"""Draw where runs look: `python scripts/cam.py run=DIR [vs=DIR] [images=N] [target=prediction]`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the packages of this checkout, before others

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from omegaconf import DictConfig, OmegaConf

from engine.errors import ConfigError, as_config_error
from scripts.cli.app import run_app
from scripts.cli.saved_run import load_config, load_dataset, load_run
from scripts.cli.type_check import check_options

if TYPE_CHECKING:  # they take seconds to import, which wrong input need not wait for
    from engine.training.run import Run
    from engine.transforms.normalize import Normalize
    from report.cam import CamColumn, CamImages

OPTIONS = {
    "run": str,
    "vs": str | Sequence[str] | None,
    "images": int,
    "seed": int,
    "indices": Sequence[int] | None,
    "target": Literal["label", "prediction"],
    "layer": str,
    "out": str,
    "board": bool,
    "split": str,
    "root": str | None,
    "device": str,
}
MOST = 64  # images that fit one picture
UNSEEN = ("root", "stem", "statistics")  # options of a data set that leave its images alone
OF = {"label": "the true class", "prediction": "the class predicted"}


def main(cfg: DictConfig) -> None:
    """Draw the picture, and print which images and runs it shows."""
    check(cfg)
    others = [cfg.vs] if isinstance(cfg.vs, str) else cfg.vs or []
    configs = {folder: load_config(folder, cfg.root) for folder in (cfg.run, *others)}
    require_same_images(configs, cfg.split)
    from engine.environment import prepare_device
    from report.cam import draw, short_names

    device = prepare_device(cfg.device)
    images, seen = choose(cfg, configs[cfg.run]), []
    print(f"{cfg.split} images {', '.join(map(str, images.indices))}")
    for name, (folder, config) in zip(short_names(list(configs)), configs.items(), strict=True):
        run = load_run(folder, config, device)
        seen.append(measure(run, load_dataset(config, cfg.split).normalize, images, cfg, name))
        right = (seen[-1].guesses == images.labels).sum()
        print(f"{name}: {right} of {len(images.labels)} right after epoch {run.epoch}")
    out = Path(cfg.out)
    with as_config_error("out"):
        out.parent.mkdir(parents=True, exist_ok=True)
        draw(out, images, seen, f"Grad-CAM at {cfg.layer}: what speaks for {OF[cfg.target]}")
    print(out)
    if cfg.board:
        show(out, Path(cfg.run, "cam"), " vs ".join(column.name for column in seen))


def check(cfg: DictConfig) -> None:
    """Raise ConfigError for the first option with an impossible value."""
    check_options(OmegaConf.to_container(cfg, throw_on_missing=True), OPTIONS)
    if not 0 <= cfg.seed < 2**63:
        raise ConfigError(f"seed={cfg.seed}: expected a whole number, 0 or more")
    count = cfg.images if cfg.indices is None else len(cfg.indices)
    if not 1 <= count <= MOST:
        raise ConfigError(f"{count} images: a picture takes 1 to {MOST}")
    if not cfg.out.endswith(".png"):
        raise ConfigError(f"out={cfg.out}: the picture is a PNG; give it a name that ends in .png")


def require_same_images(configs: Mapping[str, DictConfig], split: str) -> None:
    """Raise ConfigError if a run has other images in `split` than the first run."""
    ignored = (*UNSEEN, "val") if split == "test" else UNSEEN
    first = next(iter(configs.values())).data
    for folder, config in configs.items():
        for key in sorted({*first, *config.data} - {*ignored}):
            here, there = first.get(key), config.data.get(key)
            if here != there:
                raise ConfigError(f"vs={folder}: another data set (data.{key}: {here} -> {there})")


def choose(cfg: DictConfig, config: DictConfig) -> CamImages:
    """The given images, or images drawn at random from `seed` alone."""
    import torch

    from engine.rng import permutation
    from engine.transforms.batch import Identity
    from report.cam import CamImages

    dataset = load_dataset(config, cfg.split)
    with as_config_error("data"):
        images = dataset.load(cfg.split)
    count = len(images)
    indices = cfg.indices or permutation(cfg.seed, 0, count)[: cfg.images].tolist()
    if missing := [i for i in indices if not 0 <= i < count]:
        raise ConfigError(f"indices={missing}: {cfg.split} has the images 0 to {count - 1}")
    ((pixels, labels),) = images.batches([torch.tensor(indices)], Identity(), 0, 0)
    return CamImages(pixels.numpy(), labels.numpy(), images.classes, list(indices))


def measure(
    run: Run, normalize: Normalize, images: CamImages, cfg: DictConfig, name: str
) -> CamColumn:
    """The predictions of `run` for the images, and heat maps of the evidence for `cfg.target`."""
    import torch

    from engine.grad_cam import grad_cam
    from report.cam import CamColumn

    pixels = normalize(torch.from_numpy(images.pixels).to(run.device))
    network = run.eval_model.eval()
    with run.autocast():
        with torch.no_grad():
            probs, guesses = network(pixels).float().softmax(1).max(1)
        labels = torch.from_numpy(images.labels).to(run.device)
        of = labels if cfg.target == "label" else guesses
        heat = grad_cam(network, pixels, cfg.layer, of)
    return CamColumn(name, *(found.cpu().numpy() for found in (heat, guesses, probs)))


def show(picture: Path, folder: Path, name: str) -> None:
    """Put the picture into TensorBoard, as an event file in `folder`."""
    import numpy as np
    from PIL import Image
    from torch.utils.tensorboard import SummaryWriter

    with as_config_error("board"), SummaryWriter(folder) as board, Image.open(picture) as opened:
        board.add_image(f"cam/{name}", np.asarray(opened.convert("RGB")), dataformats="HWC")
    print(f"{folder}: the same for TensorBoard, under Images")


if __name__ == "__main__":
    run_app(main, "cam")
