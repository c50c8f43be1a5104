"""Measure a run again: `python eval.py run=DIR [split=test] [per_class=true] [confusion=true]`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from engine.errors import as_config_error
from scripts.cli.app import run_app
from scripts.cli.saved_run import load_config, load_dataset, load_images, load_run
from scripts.cli.terminal import printable
from scripts.cli.type_check import check_options

if TYPE_CHECKING:  # torch: not before the names are checked
    from torch import Tensor

OPTIONS = {
    "run": str,
    "split": str,
    "root": str | None,
    "device": str,
    "per_class": bool,
    "confusion": bool,
    "to": str,
    "json": bool,
}


def measure(cfg: DictConfig) -> dict[str, object]:
    """Loss, and top-1 and top-5 accuracy in %, of the run `cfg.run` on one split.

    With `cfg.per_class`, the top-1 accuracy of each class as well; with `cfg.confusion`, the most
    frequent mistakes, and the files that hold all of them.
    """
    check_options(OmegaConf.to_container(cfg, throw_on_missing=True), OPTIONS)
    run_cfg = load_config(cfg.run, cfg.root)
    from engine.environment import prepare_device
    from engine.training.loop import accuracy_by_class, predict, summary

    normalize = load_dataset(run_cfg, cfg.split).normalize
    run = load_run(cfg.run, run_cfg, prepare_device(cfg.device))
    images = load_images(run_cfg, cfg.split).to(run.device)
    losses, hit, guesses = predict(run, images, normalize)
    measured = {"run": cfg.run, "split": cfg.split, "epoch": run.epoch, "images": len(images)}
    measured |= summary(losses, hit)
    if cfg.per_class:
        by_class = accuracy_by_class(hit[0], images.labels, len(images.classes)).tolist()
        measured["per_class"] = dict(zip(images.classes, by_class, strict=True))
    if cfg.confusion:
        measured |= confused(images.labels, guesses, images.classes, Path(cfg.to))
    return measured


def confused(
    labels: Tensor, guesses: Tensor, classes: Sequence[str], folder: Path
) -> dict[str, list[str]]:
    """Write the files of the mistakes; return lines with the most frequent ones, and the paths."""
    from report.formats.confusion import count, most_confused, write

    counts = count(labels.cpu().numpy(), guesses.cpu().numpy(), len(classes))
    with as_config_error("to"):
        written = write(counts, classes, folder)
    return {"confused": list(most_confused(counts, classes)), "written": list(map(str, written))}


def main(cfg: DictConfig) -> float:
    """Print the measurement; return top-1 accuracy in %."""
    measured = measure(cfg)
    if cfg.json:
        print(json.dumps(measured))
        return measured["top1"]
    for name, accuracy in measured.get("per_class", {}).items():
        print(f"{accuracy:6.2f} %  {printable(name)}")
    for line in (*measured.get("confused", ()), *measured.get("written", ())):
        print(printable(line))
    print(
        f"{measured['run']}  {measured['split']} ({measured['images']:,} images, "
        f"epoch {measured['epoch']})  top-1 {measured['top1']:.2f} %  "
        f"top-5 {measured['top5']:.2f} %  loss {measured['loss']:.4f}"
    )
    return measured["top1"]


if __name__ == "__main__":
    run_app(main, "eval")
