"""Each module's paper has one BibTeX entry, and the command prints it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.pages.mechanisms import mechanisms
from scripts.pages.papers import PAPERS, entry

ROOT = Path(__file__).parents[2]


def cite(*words):
    command = [sys.executable, str(ROOT / "scripts/cite.py"), *words]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.mark.parametrize("one", [m for m in mechanisms() if m.link], ids=lambda one: one.name)
def test_the_entry_has_the_year_and_the_first_author_that_the_source_names(one):
    found, first = entry(one), re.match(r"\w+", one.authors)[0]
    assert f"year = {{{one.authors[-4:]}}}" in found
    assert f"author = {{{first}, " in found


def test_no_entry_belongs_to_no_module():
    used = {entry(one) for one in mechanisms()} - {None}
    assert used == set(PAPERS.read_text(encoding="utf-8").strip().split("\n\n"))


def test_a_paper_of_two_modules_is_printed_once():
    said = cite("attn=nam,aff,iaff").stdout
    assert re.findall(r"@\w+\{(\w+),", said) == ["liu2021nam", "dai2021attentional"]


def test_a_name_that_is_no_module_is_refused_with_the_nearest_name():
    ended = cite("attn=nom")
    assert ended.returncode == 2
    assert "attn=nom: no such module; did you mean nam?" in ended.stderr


def test_a_control_has_no_paper():
    assert cite("attn=half").stdout == "attn=half: a control, which has no paper\n"
