"""Measure a run again: `python eval.py run=DIR [split=test] [per_class=true] [json=true]`."""

import json
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from engine.errors import Refused, refusing
from scripts.door import build, check_names, door


def measure(cfg: DictConfig) -> dict[str, object]:
    """Loss, top1 and top5 (%) of the run in `cfg.run` on one split, and by class if asked for."""
    run_cfg = stored_config(cfg)
    from engine.loop import accuracy_by_class, predict, summary
    from engine.run import Run, prepare_device

    source = build(run_cfg.data)
    if cfg.split not in source.splits:
        raise Refused(f"split={cfg.split}: this run has {', '.join(source.splits)}")
    device = prepare_device(cfg.device)
    run = Run(build(run_cfg.model), build(run_cfg.recipe), run_cfg.seed, device, run_cfg.precision)
    with refusing("data"):
        images = source.load(cfg.split).to(device)
    with refusing("run"):
        if not run.resume(Path(cfg.run)):
            raise FileNotFoundError(f"{cfg.run} holds no checkpoint that can be used")
    losses, hit = predict(run, images, source.normalize)
    measured = {"run": cfg.run, "split": cfg.split, "epoch": run.epoch, "images": len(images)}
    measured |= summary(losses, hit)
    if cfg.per_class:
        by_class = accuracy_by_class(hit[0], images.labels, len(images.classes)).tolist()
        measured["per_class"] = dict(zip(images.classes, by_class, strict=True))
    return measured


def stored_config(cfg: DictConfig) -> DictConfig:
    """What the run was asked for, checked like any other configuration before it is used."""
    path = Path(cfg.run, "config.yaml")
    if not path.is_file():
        raise Refused(f"run={cfg.run}: there is no config.yaml; a run's directory ends in seed<k>")
    stored = OmegaConf.load(path)
    check_names(stored, stored)
    stored.model.weights = None  # the checkpoint's come after them anyway
    if cfg.root is not None:
        stored.data.root = cfg.root
    return stored


def main(cfg: DictConfig) -> float:
    """Print what was measured; return top-1 accuracy in %."""
    measured = measure(cfg)
    if cfg.json:
        print(json.dumps(measured))
    else:
        for name, accuracy in measured.pop("per_class", {}).items():
            print(f"{accuracy:6.2f} %  {name}")
        print(
            f"{measured['run']}  {measured['split']} ({measured['images']:,} images, "
            f"epoch {measured['epoch']})  top-1 {measured['top1']:.2f} %  "
            f"top-5 {measured['top5']:.2f} %  loss {measured['loss']:.4f}"
        )
    return measured["top1"]


if __name__ == "__main__":
    door(main, "eval")
