"""Print the BibTeX of the papers behind modules: `python scripts/cite.py attn=nam,se`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the packages of this checkout, before others

import argparse
import difflib

from scripts.pages.mechanisms import mechanisms
from scripts.pages.papers import bibtex


def main() -> None:
    """Print each paper once; exit code 2 for a name that is no mechanism."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("attn", help="such as attn=nam,se; attn=all for every paper")
    names = parser.parse_args().attn.removeprefix("attn=").split(",")
    known = {one.name: one for one in mechanisms()}
    for name in names:
        if name not in known and names != ["all"]:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else "docs/gallery.md lists the modules"
            parser.error(f"attn={name}: no such module; {hint}")
    chosen = list(known.values()) if names == ["all"] else [known[name] for name in names]
    print(bibtex(chosen) or f"attn={','.join(names)}: a control, which has no paper")


if __name__ == "__main__":
    main()
