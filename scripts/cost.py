"""What networks cost, counted without running anything.

    python scripts/cost.py model=resnet50 attn=all
    python scripts/cost.py model=resnet50,mobilenet_v2 attn=none,se,nam data=cifar10 json=true

Anything that `train.py` takes can be said here too: `attn=cbam attn.reduction=8`.
"""

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from tqdm import tqdm

from engine.errors import ConfigError
from report.formats.text import render
from scripts.cli.app import CONF, build, run_app

HEADER = ("model", "attn", "params", "+ %", "MACs", "+ %", "element-wise", "+ %")
COLUMNS = (("params", "{:,}", 1), ("macs", "{:,.1f} M", 1e6), ("elements", "{:,.1f} M", 1e6))


def take(group: str, default: str) -> list[str]:
    """The names that `group=a,b` or `group=all` on the command line asks for; Hydra gets one."""
    for i, argument in enumerate(sys.argv):
        if argument.startswith(f"{group}="):
            names = argument.partition("=")[2].split(",")
            if names == ["all"]:
                names = sorted(file.stem for file in (CONF / group).glob("*.yaml"))
                names.sort(key=lambda name: name != "none")
            sys.argv[i] = f"{group}={names[0]}"
            return names
    sys.argv.append(f"{group}={default}")
    return [default]


def rows(models: list[str], attns: list[str]) -> Iterator[dict[str, Any]]:
    """One row for each network with each attention; where the two do not fit, why."""
    import torch

    from engine.complexity import cost

    overrides = list(HydraConfig.get().overrides.task)
    pairs = [(model, attn) for model in models for attn in attns]
    for model, attn in tqdm(pairs, disable=None, leave=False):
        cfg = hydra.compose("train", [*overrides, f"model={model}", f"attn={attn}"])
        try:
            with torch.device("meta"):
                counted = asdict(cost(build(cfg.model), cfg.model.image_size))
        except ConfigError as refusal:
            counted = {"refused": str(refusal)}
        yield {"model": model, "attn": attn} | counted


def table(counted: list[dict[str, Any]]) -> str:
    """Markdown, each network compared with its plain form where that was counted."""
    plain = {row["model"]: row for row in counted if row["attn"] == "none"}
    fitting = [row for row in counted if "refused" not in row]
    lines = [render(HEADER, [_cells(row, plain.get(row["model"])) for row in fitting])]
    for row in counted:
        if "refused" in row:
            lines.append(f"{row['model']} with {row['attn']}: {row['refused']}")
    lines.append("\nFor one image. MACs: convolutions and matrix products, the papers' FLOPs.")
    lines.append("Element-wise: elements that pointwise operations write and reductions read.")
    return "\n".join(lines)


def _cells(row: dict[str, Any], plain: dict[str, Any] | None) -> tuple[str, ...]:
    cells = [row["model"], row["attn"]]
    for key, form, unit in COLUMNS:
        cells.append(form.format(row[key] // unit if unit == 1 else row[key] / unit))
        more = 100 * (row[key] / plain[key] - 1) if plain else None
        cells.append("" if more is None or row is plain else f"{more:+.2f}")
    return tuple(cells)


def main(models: list[str], attns: list[str], as_json: bool, cfg: DictConfig) -> None:
    """Count and print; `cfg` is the first network's, and has been checked."""
    counted = list(rows(models, attns))
    if all("refused" in row for row in counted):
        raise ConfigError(counted[0]["refused"])
    print(json.dumps(counted, indent=1) if as_json else table(counted))


if __name__ == "__main__":
    if "--help" in sys.argv:
        print(__doc__)
    as_json = "json=true" in sys.argv
    sys.argv = [argument for argument in sys.argv if not argument.startswith("json=")]
    run_app(partial(main, take("model", "resnet50"), take("attn", "none"), as_json), "train")
