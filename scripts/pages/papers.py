"""The papers of the mechanisms as BibTeX, read from docs/papers.bib."""

import re
from collections.abc import Iterable

from scripts.cli.overrides import CONF
from scripts.pages.mechanisms import Documented

PAPERS = CONF.parent / "docs" / "papers.bib"
ADDRESS = re.compile(r"^  (?:eprint|url|doi) = \{(.+)\},$", re.MULTILINE)


def entry(one: Documented) -> str | None:
    """The entry whose arXiv number, DOI or address is in the link of the mechanism's paper.

    None for a control, which has no paper.
    """
    return next((text for text in _entries() if ADDRESS.search(text)[1] in one.link), None)


def bibtex(chosen: Iterable[Documented]) -> str:
    """The entries of all these mechanisms, each once, in the order of the mechanisms."""
    return "\n\n".join(dict.fromkeys(filter(None, map(entry, chosen))))


def _entries() -> list[str]:
    return PAPERS.read_text(encoding="utf-8").strip().split("\n\n")
