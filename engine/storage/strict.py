"""Read small files that a stranger may have written: nothing waits, nothing runs, nothing is huge.

A pipe or a device in place of a file, an endless file, deep nesting, a YAML file whose aliases
multiply: each is refused with one sentence. FileNotFoundError is left to the caller.
"""

import json
import os
import stat
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

LARGEST = 64 * 2**20  # bytes
DEEPEST = 24  # levels of nesting


def read_text(path: Path) -> str:
    """The text of a regular file in UTF-8; ValueError for anything else."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise ValueError("it is no regular file")
    with open(descriptor, "rb") as file:
        if status.st_size > LARGEST:
            raise ValueError(f"it has {status.st_size:,} bytes; more than {LARGEST:,} are not read")
        content = file.read()
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is no UTF-8") from error


def parse_json(text: str) -> Any:
    """The value of a JSON text; ValueError if it is none, or nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def parse_yaml(text: str) -> dict[str, Any]:
    """The mapping in a YAML text; ValueError for an alias, a tag, a key twice, deep nesting."""
    try:
        _require_plain(text)
        found = yaml.load(text, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = "" if line is None else f"line {line + 1}: "
        raise ValueError(f"{where}{getattr(error, 'problem', None) or 'no YAML'}") from error
    if not isinstance(found, dict):
        raise ValueError("it holds no mapping")
    return found


def _require_plain(text: str) -> None:
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"line {event.start_mark.line + 1}: it uses an alias")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"line {event.start_mark.line + 1}: it is nested too deeply")


class _UniqueKeys(yaml.SafeLoader):
    """YAML's own loader takes the last of two equal keys; this one refuses both."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if twice := [key for i, key in enumerate(keys) if key in keys[:i]]:
            problem = f"the key {twice[0]} is there twice"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)
