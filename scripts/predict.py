"""What a trained network takes pictures for: `python scripts/predict.py run=DIR images=FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the packages of this checkout, before others

from collections.abc import Sequence
from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from engine.errors import ConfigError, as_config_error
from scripts.cli.app import run_app
from scripts.cli.saved_run import load_config
from scripts.cli.terminal import printable
from scripts.cli.type_check import check_options

if TYPE_CHECKING:  # torch and matplotlib: not before the names are checked
    from report.contact_sheet import Guessed
    from scripts.cli.trained import Trained

OPTIONS = {
    "run": str,
    "images": str | Sequence[str],
    "to": str | None,
    "root": str | None,
    "device": str,
}
BEST = 5  # classes that are named
DRAWN = 60  # pictures that fit one picture


def main(cfg: DictConfig) -> None:
    """Print the guesses for each picture, and draw the first pictures with theirs."""
    check_options(OmegaConf.to_container(cfg, throw_on_missing=True), OPTIONS)
    if cfg.to is not None and not cfg.to.endswith(".png"):
        raise ConfigError(f"to={cfg.to}: the picture is a PNG; give it a name that ends in .png")
    config, paths = load_config(cfg.run, cfg.root), files(cfg.images)
    from engine.environment import prepare_device
    from report.contact_sheet import draw
    from scripts.cli.trained import trained_of

    device = prepare_device(cfg.device)
    trained = trained_of(cfg.run, config, device)
    guessed = [found for path in paths if (found := guess(trained, path, device))]
    if not guessed:
        raise ConfigError(f"images={cfg.images}: no picture can be read")
    if cfg.to is None:
        return
    with as_config_error("to"):
        Path(cfg.to).parent.mkdir(parents=True, exist_ok=True)
        draw(Path(cfg.to), guessed[:DRAWN], f"The likeliest classes: {cfg.run}")
    more = f" (the first {DRAWN} of {len(guessed)})" if len(guessed) > DRAWN else ""
    print(f"{cfg.to}{more}")


def files(images: str | Sequence[str]) -> list[Path]:
    """The files that the option names, or those of the folder; ConfigError if there is none."""
    from engine.datasets.decode import SUFFIXES

    given = [Path(name).expanduser() for name in ([images] if isinstance(images, str) else images)]
    if missing := [path for path in given if not path.exists()]:
        raise ConfigError(f"images={missing[0]}: there is no such file or folder")
    found: list[Path] = []
    for path in given:
        below = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [file for file in below if file.suffix.lower() in SUFFIXES or file == path]
    if not found:
        raise ConfigError(f"images={images}: no picture in it ({', '.join(SUFFIXES)})")
    return found


def guess(trained: Trained, path: Path, device: str) -> Guessed | None:
    """Print and return the guesses for one picture; None, and a line, if it cannot be read."""
    import torch

    from report.contact_sheet import Guessed

    try:
        image = trained.transform(path)[None].to(device)
    except ValueError as error:
        print(f"left out: {printable(str(error))}", file=sys.stderr)
        return None
    with torch.no_grad():
        probabilities = trained.model(image).float().softmax(1)[0]
    values, labels = (t.tolist() for t in probabilities.topk(min(BEST, len(trained.classes))))
    best = [(trained.classes[label], p) for label, p in zip(labels, values, strict=True)]
    named = ", ".join(f"{printable(name)} {100 * p:.1f} %" for name, p in best)
    print(f"{printable(str(path))}: {named}")
    return Guessed(path.name, trained.transform.pixels(path), best)


if __name__ == "__main__":
    run_app(main, "predict")
