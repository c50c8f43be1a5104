"""The help of a command, and of a choice such as attn=cbam.

Options are explained by the comments beside them in conf/, modules by the docstrings of their
source. Nothing is imported, and nothing runs.
"""

import re
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml
from omegaconf import DictConfig, OmegaConf

from engine.errors import ConfigError
from scripts.cli.messages import unknown_choice
from scripts.cli.overrides import CONF, GROUPS, HELP
from scripts.cli.recipe_files import completed
from scripts.cli.targets import UnknownTarget, documentation

WIDTH = 80  # columns of a terminal
COLUMN = 26  # of the first letter of an explanation
LINE = re.compile(r"( *)([a-z]\w*):(?: +([^#\s].*?))?(?: +# (.*))?")
INTERNAL = ("defaults", "slots")

Option = tuple[str, str, str]  # dotted name, default, explanation


def help_text(command: str, words: Sequence[str]) -> str | None:
    """The help that `words` ask for; None if they ask for none.

    ConfigError for a choice that does not exist.
    """
    if not set(HELP) & set(words):
        return None
    pairs = [word.lstrip("+").split("=", 1) for word in words if "=" in word]
    chosen = [(key, name) for key, names in pairs if key in GROUPS for name in names.split(",")]
    return "\n\n".join(_of_choice(*choice) for choice in chosen) or _of_command(command)


def options_in(text: str) -> Iterator[Option]:
    """The options of a YAML file: each with the text of its default and the comment beside it."""
    path: dict[int, str] = {}  # indentation -> key
    for line in text.partition("\nhydra:")[0].splitlines():
        if found := LINE.fullmatch(line):
            indent, key, value, said = found.groups()
            path = {deep: name for deep, name in path.items() if deep < len(indent)}
            path[len(indent)] = key
            name = ".".join(path.values())
            if value and not value.startswith("${") and path[0] not in INTERNAL:
                yield name, value, said or ""


def _of_command(command: str) -> str:
    text = (CONF / f"{command}.yaml").read_text(encoding="utf-8")
    tree = yaml.safe_load(text)
    groups = [group for entry in tree["defaults"] for group in _group(entry)]
    options = list(options_in(text))
    if "slots" in tree["defaults"]:
        options += options_in((CONF / "slots.yaml").read_text(encoding="utf-8"))
    template = tree["hydra"]["help"]["template"]
    filled = template.replace("$APP_CONFIG_GROUPS", "\n".join(map(_listed, groups)))
    return filled.replace("$CONFIG", "\n".join(line for o in options for line in _lines(o)))


def _group(entry: object) -> Iterator[str]:
    """The group of an entry in a defaults list, if the entry chooses in a group of ours."""
    if isinstance(entry, dict):
        yield from (group for group in entry if group in GROUPS)


def _names(group: str) -> list[str]:
    return sorted(file.stem for file in (CONF / group).glob("*.yaml"))


def _listed(group: str) -> str:
    return _wrapped(f"{group}: {', '.join(_names(group))}", "  ", "    ")


def _of_choice(group: str, name: str) -> str:
    """What a choice is, how it is computed, where it comes from, and its options."""
    file = CONF / group / f"{name}.yaml"
    if name not in _names(group):
        raise ConfigError(unknown_choice(group, name, _names(group)))
    text = file.read_text(encoding="utf-8")
    said = [line[2:] for line in text.splitlines() if line.startswith("# ") and "@" not in line]
    parts = [_wrapped(f"{group}={name}: {' '.join(said)}" if said else f"{group}={name}")]
    parts += [_wrapped(paragraph, "  ") for paragraph in _documents(group, file)]
    lines = [line for option in _options(group, file) for line in _lines(option)]
    return "\n\n".join([*parts, "\n".join(["Options, with their defaults:", "", *lines])])


def _documents(group: str, file: Path) -> list[str]:
    """The paragraphs of the class of a choice, and the first one of its file: the paper."""
    tree = OmegaConf.load(file)
    node = tree.get(group) if group == "attn" else tree
    target = node.get("_target_") if isinstance(node, DictConfig) else None
    if target is None or target.startswith("torch."):
        return []
    try:
        paper, of_class = documentation(target)
    except UnknownTarget as error:
        raise ConfigError(f"{group}={file.stem}: {error}") from error
    return [*of_class.split("\n\n"), *([paper] if group == "attn" else [])]


def _options(group: str, file: Path) -> list[Option]:
    """The options of a choice by their names on the command line."""
    text = file.read_text(encoding="utf-8")
    found = list(options_in(text))
    if group == "recipe":  # the options that a file leaves out have the defaults of the class
        named = {name.split(".")[0] for name, _, _ in found}
        every = completed(OmegaConf.load(file))
        rest = OmegaConf.create({key: every[key] for key in every if key not in named})
        found += options_in(OmegaConf.to_yaml(rest))
    if "@package _global_" not in text:
        return [(f"{group}.{name}", value, said) for name, value, said in found]
    slots = (CONF / "slots.yaml").read_text(encoding="utf-8")
    explained = {name: said for name, _, said in options_in(slots)}
    return [(name, value, said or explained.get(name, "")) for name, value, said in found]


def _lines(option: Option) -> Iterator[str]:
    """An option and its explanation, in two columns."""
    name, value, said = option
    head = f"  {name}={value}"
    if not said:
        yield head
    elif len(head) > COLUMN - 2:
        yield head
        yield _wrapped(said, COLUMN * " ")
    else:
        yield _wrapped(said, head.ljust(COLUMN), COLUMN * " ")


def _wrapped(text: str, first: str = "", others: str | None = None) -> str:
    return textwrap.fill(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=first if others is None else others,
        break_long_words=False,
        break_on_hyphens=False,
    )
