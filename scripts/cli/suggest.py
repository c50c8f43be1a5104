"""What a wrong option was meant to be: the nearest name, here or in another group."""

import difflib
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from scripts.cli.overrides import CONF, GROUPS

HIDDEN = ("_target_", "_partial_", "slots")
CHOICES = ("data", "model", "attn", "recipe")  # groups whose choices differ in their options
SHOWN = 4  # choices in a message


def hint(
    where: str, value: Any, allowed: Collection[str], known: DictConfig, target: str | None
) -> str:
    """What to write in place of the unknown option `where`=`value`.

    `allowed` are the options beside it, of the class `target` if any, and `known` is the whole
    configuration.
    """
    path, _, key = where.rpartition(".")
    names = sorted({*map(str, allowed)} - {*HIDDEN} | {*(() if path else GROUPS)})
    elsewhere = [name for name in _leaves(known, path.partition(".")[0]) if name != where]
    if found := [dotted for dotted in elsewhere if dotted.rpartition(".")[2] == key]:
        return f"did you mean {' or '.join(f'{dotted}{_said(value)}' for dotted in found)}?"
    if not path and set(GROUPS) & set(known) and (found := _other_choices(key)):
        return found
    prefix = f"{path}." if path else ""
    if near := difflib.get_close_matches(key, names, 1, 0.75):
        return f"did you mean {prefix}{near[0]}?"
    last = {dotted.rpartition(".")[2]: dotted for dotted in elsewhere}
    if not path and (near := difflib.get_close_matches(key, last, 1, 0.75)):
        return f"did you mean {last[near[0]]}{_said(value)}?"
    if near := difflib.get_close_matches(key, names, 1, 0.5):
        return f"did you mean {prefix}{near[0]}?"
    return f"choose from {', '.join(names)}" if names else f"{target or path} has no options"


def _leaves(known: DictConfig, group: str) -> list[str]:
    """The dotted names of the options below the groups, or below one `group`."""
    tree = OmegaConf.to_container(known)
    groups = {group: tree.get(group)} if group else tree
    return [dotted for dotted in _dotted(groups) if "." in dotted]


def _dotted(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if key in HIDDEN:
            continue
        if isinstance(value, Mapping):
            yield from _dotted(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


def _other_choices(key: str) -> str | None:
    """`data.workers is an option of data=imagenet`, for an option that the choices do not have."""
    holders: dict[str, list[str]] = {}
    for group in CHOICES:
        for file in sorted((CONF / group).glob("*.yaml")):
            tree = yaml.safe_load(file.read_text(encoding="utf-8"))
            tree = tree if group == "attn" else {group: tree}
            for dotted in _dotted(tree):
                if dotted.rpartition(".")[2] == key and dotted.startswith(f"{group}."):
                    holders.setdefault(dotted, []).append(f"{group}={file.stem}")
    if not holders:
        return None
    dotted = min(holders, key=lambda name: name.count("."))
    more = ", ..." if len(holders[dotted]) > SHOWN else ""
    return f"{dotted} is an option of {', '.join(holders[dotted][:SHOWN])}{more}"


def _said(value: Any) -> str:
    """`=VALUE` as it was given; nothing for a list or for a long word."""
    is_scalar = value is None or isinstance(value, bool | int | float | str)
    text = yaml.safe_dump(value).split("\n")[0] if is_scalar else ""
    return f"={text}" if 0 < len(text) <= 20 else ""
