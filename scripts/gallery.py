"""Write docs/gallery.md and the drawings beside the page: `python scripts/gallery.py`.

The facts come from the docstrings of attn/, the files of conf/attn, and the recorded costs in
tests/models/cost_of_attention.json.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the packages of this checkout, before others

import argparse
import json

from scripts.pages.drawings import SLOTS, draw
from scripts.pages.gallery import page

ROOT = Path(__file__).parents[1]
COSTS = ROOT / "tests/models/cost_of_attention.json"


def main() -> None:
    """Write the page and the drawings, and say where they are."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    costs = {row["attn"]: row for row in json.loads(COSTS.read_text(encoding="utf-8"))}
    docs = ROOT / "docs"
    (docs / "gallery.md").write_text(page(costs), encoding="utf-8")
    for slot in SLOTS:
        (docs / "slots" / f"{slot}.svg").write_text(draw(slot), encoding="utf-8")
    print("docs/gallery.md, docs/slots/*.svg")


if __name__ == "__main__":
    main()
