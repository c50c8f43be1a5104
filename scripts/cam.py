"""Draw where runs look: `python scripts/cam.py run=DIR [vs=DIR] [images=N] [target=prediction]`."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the packages of this checkout, before others

from collections.abc import Sequence
from typing import Literal

from omegaconf import DictConfig, OmegaConf

from engine.errors import ConfigError, as_config_error
from scripts.cli.app import run_app
from scripts.cli.heat_maps import draw_runs
from scripts.cli.type_check import check_options

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


def main(cfg: DictConfig) -> None:
    """Draw the picture, and print which images and runs it shows."""
    check(cfg)
    columns = draw_runs(cfg, print)
    print(cfg.out)
    if cfg.board:
        show(Path(cfg.out), Path(cfg.run, "cam"), " vs ".join(column.name for column in columns))


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
