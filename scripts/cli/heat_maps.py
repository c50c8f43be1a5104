"""Heat maps of saved runs, side by side in one picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from engine.errors import ConfigError, as_config_error
from scripts.cli.saved_run import load_config, load_dataset, load_images, load_run

if TYPE_CHECKING:  # they take seconds to import, which wrong input need not wait for
    from engine.training.run import Run
    from engine.transforms.normalize import Normalize
    from report.cam import CamColumn, CamImages

# Options of a data set that leave its images alone.
UNSEEN = ("root", "name", "stem", "statistics", "workers", "timeout")
OF = {"label": "the true class", "prediction": "the class predicted"}


def draw_runs(cfg: DictConfig, say: Callable[[str], None]) -> list[CamColumn]:
    """Draw `cfg.run` and each run of `cfg.vs` into the file `cfg.out`, and return their columns.

    `cfg` has the options of conf/cam.yaml. `say` takes a line for the images and for each run.
    """
    others = [cfg.vs] if isinstance(cfg.vs, str) else cfg.vs or []
    configs = {folder: load_config(folder, cfg.root) for folder in (cfg.run, *others)}
    require_same_images(configs, cfg.split)
    from engine.environment import prepare_device
    from report.cam import draw, short_names

    device = prepare_device(cfg.device)
    images, seen = choose(cfg, configs[cfg.run]), []
    say(f"{cfg.split} images {', '.join(map(str, images.indices))}")
    for name, (folder, config) in zip(short_names(list(configs)), configs.items(), strict=True):
        run = load_run(folder, config, device)
        seen.append(measure(run, load_dataset(config, cfg.split).normalize, images, cfg, name))
        right = (seen[-1].guesses == images.labels).sum()
        say(f"{name}: {right} of {len(images.labels)} right after epoch {run.epoch}")
    out = Path(cfg.out)
    with as_config_error("out"):
        out.parent.mkdir(parents=True, exist_ok=True)
        draw(out, images, seen, f"Grad-CAM at {cfg.layer}: what speaks for {OF[cfg.target]}")
    return seen


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

    images = load_images(config, cfg.split)
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
