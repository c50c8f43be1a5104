"""Count what networks cost, without training: `python scripts/cost.py model=a,b attn=none,c`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the packages of this checkout, before others

import itertools
import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf
from tqdm import tqdm

from engine.errors import ConfigError
from report.formats.text import render
from scripts.cli.app import refuse, run_app
from scripts.cli.compose import build, compose_run
from scripts.cli.overrides import CONF, Overrides, choices, split_words
from scripts.cli.type_check import check_options

OWN = {*OmegaConf.load(CONF / "cost.yaml")} - {"defaults"}  # all other options are train.py's
OPTIONS = {"json": bool}
DEFAULTS = {"model": "resnet50", "attn": "none"}
HEADER = ("model", "attn", "params", "+ %", "MACs", "+ %", "element-wise", "+ %")
COLUMNS = (("params", "{:,}", 1), ("macs", "{:,.1f} M", 1e6), ("elements", "{:,.1f} M", 1e6))


def main(overrides: Overrides, cfg: DictConfig) -> None:
    """Count and print the cost of each network with each attention."""
    check_options(OmegaConf.to_container(cfg), OPTIONS)
    chosen = DEFAULTS | overrides
    pairs = itertools.product(choices("model", chosen["model"]), choices("attn", chosen["attn"]))
    rows = list(count([chosen | {"model": model, "attn": attn} for model, attn in pairs]))
    if all("refused" in row for row in rows):
        raise ConfigError(rows[0]["refused"])
    print(json.dumps(rows, indent=1) if cfg.json else table(rows))


def count(runs: list[Overrides]) -> Iterator[dict[str, Any]]:
    """One row for each network; a network that cannot be built gets the reason instead."""
    composed = [compose_run(overrides, OWN)[0] for overrides in runs]
    import torch  # not before the names are checked

    from engine.complexity import cost

    for overrides, cfg in zip(tqdm(runs, disable=None, leave=False), composed, strict=True):
        try:
            with torch.device("meta"):
                counted = asdict(cost(build(cfg.model), cfg.model.image_size))
        except ConfigError as refusal:
            counted = {"refused": str(refusal)}
        yield {"model": overrides["model"], "attn": overrides["attn"]} | counted


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown; each network is compared with its plain form if the plain form was counted."""
    plain = {row["model"]: row for row in rows if row["attn"] == "none"}
    counted = [row for row in rows if "refused" not in row]
    lines = [render(HEADER, [_cells(row, plain.get(row["model"])) for row in counted])]
    for row in rows:
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


if __name__ == "__main__":
    try:
        sys.argv[1:], overrides = split_words(sys.argv[1:], OWN)
    except ConfigError as error:
        sys.exit(refuse(str(error)))
    run_app(partial(main, overrides), "cost")
