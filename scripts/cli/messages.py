"""Messages of Hydra and OmegaConf, put into one line and the words of the command line."""

import difflib
import re
from collections.abc import Sequence

from hydra.errors import MissingConfigException, OverrideParseException

from engine.errors import first_line

MESSAGES = {  # their message -> ours
    r"Missing mandatory value: (\S+)": r"\1 is missing: give it with \1=...",
    r"Could not override 'table'.*table=(\S+)": (
        r"tables are made by another command: python scripts/table.py table=\1"
    ),
    r"Could not override '(\w+)'": r"\1: this command has no group \1; --help lists the groups",
    r"Ambiguous value for argument '(\S+)'": r"\1: add -m to sweep over these values",
    r"ConfigError raised while resolving interpolation: ([^\n]+)": r"\1",
}


def translated(error: Exception) -> str:
    """The error in one line that names the option and its possible values."""
    if isinstance(error, MissingConfigException) and error.options is not None:
        group, _, name = (error.missing_cfg_file or "").rpartition("/")
        return unknown_choice(group, name, error.options)
    if isinstance(error, OverrideParseException):
        return _unread(error.override.lstrip("+"))
    text = str(error)
    for pattern, words in MESSAGES.items():
        if found := re.search(pattern, text, re.DOTALL):
            return found.expand(words).replace("++", "")
    key = getattr(error, "full_key", None)
    first = first_line(error).replace("++", "")
    return f"{key}: {first}" if key else first


def unknown_choice(group: str, name: str, options: Sequence[str]) -> str:
    """The message about group=name, which is none of `options`."""
    near = difflib.get_close_matches(name, options, 1)
    guess = f"; did you mean {group}={near[0]}?" if near else ""
    return f"unknown {group} '{name}'{guess} (choose from {', '.join(options)})"


def _unread(word: str) -> str:
    key, equals, _ = word.partition("=")
    if not equals:
        return f"{word}: write {word}=VALUE; --help lists the options"
    return f"{word}: this cannot be read; close quotes and brackets, or quote it: \"{key}='...'\""
