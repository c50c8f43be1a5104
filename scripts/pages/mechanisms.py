"""What the source says about each mechanism: docstrings of `attn`, and files of `conf/attn`."""

import inspect
import re
import sys
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import yaml

import attn
from scripts.cli.overrides import CONF

OPTION = re.compile(r"  (\w+): (.+?)(?:  # (.+))?")
LINK = re.compile(r"(.+?),? (https://\S+?)[.,]?(?: .*)?")


@dataclass(frozen=True)
class Option:
    """An option of a mechanism; the value is the one in `conf/attn`, as YAML."""

    name: str
    value: str
    meaning: str


@dataclass(frozen=True)
class Documented:
    """A mechanism with the name that it has on the command line."""

    name: str
    mechanism: attn.Mechanism

    @property
    def file(self) -> str:
        """The module with its source, such as attn.nam."""
        return self.mechanism.module.__module__

    @property
    def paper(self) -> str:
        """Acronym, title, authors and year."""
        return self._paper_and_link[0]

    @property
    def authors(self) -> str:
        """Authors and year, such as "Liu et al., 2021"; empty for a control."""
        found = re.search(r"\(([^()]+, \d{4})\)", self.paper)
        return found[1] if found else ""

    @property
    def link(self) -> str:
        """The address of the paper; empty for a control."""
        return self._paper_and_link[1]

    @property
    def notes(self) -> str:
        """What the file says below the paper: the authors' code, and what it does differently."""
        return inspect.getdoc(sys.modules[self.file]).partition("\n\n")[2]

    @property
    def formula(self) -> str:
        """The first paragraph of the class."""
        return inspect.getdoc(self.mechanism.module).partition("\n\n")[0]

    @property
    def remarks(self) -> str:
        """The other paragraphs of the class."""
        return inspect.getdoc(self.mechanism.module).partition("\n\n")[2]

    @property
    def slots(self) -> list[str]:
        """The sites, or the slot that `conf/attn` fills instead."""
        filled = yaml.safe_load(self._source)
        return filled["sites"] or [slot for slot in ("fusion", "conv", "norm") if slot in filled]

    @property
    def options(self) -> list[Option]:
        """The options in `conf/attn`, each with its comment behind it or in the line above."""
        found, above = [], ""
        for line in self._source.splitlines():
            match = OPTION.fullmatch(line)
            if match and not match[1].startswith("_"):
                found.append(Option(match[1], match[2], match[3] or above))
            above = line.strip().removeprefix("# ") if line.startswith("  # ") else ""
        return found

    @cached_property
    def _source(self) -> str:
        return (CONF / "attn" / f"{self.name}.yaml").read_text(encoding="utf-8")

    @cached_property
    def _paper_and_link(self) -> tuple[Any, ...]:
        match = LINK.fullmatch(self.mechanism.paper)
        return match.groups() if match else (self.mechanism.paper.rstrip("."), "")


def mechanisms() -> list[Documented]:
    """All mechanisms but the plain network, in the order of `attn.names()`."""
    found = attn.names().items()
    return [Documented(name, mechanism) for name, mechanism in found if name != "none"]
