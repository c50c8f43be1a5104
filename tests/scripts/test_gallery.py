"""The gallery says what the source says, and every module can be cited."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from scripts.pages.drawings import SITES, SLOTS, draw
from scripts.pages.gallery import page
from scripts.pages.mechanisms import mechanisms

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
AGAIN = "python scripts/gallery.py writes the page again"


def costs():
    rows = json.loads((ROOT / "tests/models/cost_of_attention.json").read_text())
    return {row["attn"]: row for row in rows}


def test_the_committed_page_is_the_one_that_the_source_makes():
    assert (DOCS / "gallery.md").read_text(encoding="utf-8") == page(costs()), AGAIN


@pytest.mark.parametrize("slot", SLOTS)
def test_the_committed_drawings_are_those_that_the_source_makes(slot):
    assert (DOCS / "slots" / f"{slot}.svg").read_text(encoding="utf-8") == draw(slot), AGAIN


@pytest.mark.parametrize("slot", SLOTS)
def test_a_drawing_has_one_colour_for_its_slot_alone(slot):
    boxes = [one for one in ElementTree.fromstring(draw(slot)).iter() if one.tag.endswith("rect")]
    coloured = [box for box in boxes if box.get("stroke") == "#c05a00"]
    assert len(coloured) == {"norm": 3, "stage": 3}.get(slot, 1)
    assert draw(slot).count(">attention<") == (len(coloured) if slot in SITES else 0)


@pytest.mark.parametrize("one", mechanisms(), ids=lambda one: one.name)
def test_every_option_is_explained_and_every_formula_is_there(one):
    assert [option.name for option in one.options if not option.meaning] == []
    assert re.search(r"[=⊗⊙·]", one.formula), "the first paragraph of the class is the formula"
    assert set(one.slots) <= set(SLOTS)
    assert one.notes


def test_every_file_of_conf_is_in_the_gallery():
    files = {file.stem for file in (ROOT / "conf/attn").glob("*.yaml")}
    assert {one.name for one in mechanisms()} == files - {"none"}
