"""Compare finished runs: `python scripts/table.py [runs=DIR]`."""

from pathlib import Path

from omegaconf import DictConfig

from engine.errors import Refused
from report.collect import collect, unfinished
from report.table import HEADER, comparisons, render
from scripts.door import door


def main(cfg: DictConfig) -> None:
    """Print one table for each network and recipe, and what is missing from them."""
    root = Path(cfg.runs)
    records = collect(root)
    if not records:
        raise Refused(f"runs={root}: no finished run below it (a result.json says it is finished)")
    for title, rows in comparisons(records).items():
        print(f"\n{title}: test top-1 after the last epoch, mean ± std over n seeds\n")
        print(render(HEADER, rows))
    print("\nvs none: mean ± std of the differences at equal seeds. MACs: convolutions and matrix")
    print("products for one image. images/s: training, as it ran; other work on the machine shows.")
    for folder in unfinished(root):
        print(f"unfinished, left out: {folder}")


if __name__ == "__main__":
    door(main, "table")
