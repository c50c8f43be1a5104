"""The words of the command line, `key=value`: whose they are, and how Hydra is given them."""

import os
import re
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from engine.distributed.launch import world_size
from engine.errors import ConfigError
from engine.storage.renamed import option

Overrides = dict[str, str]  # option of train.py -> value, both as written on the command line

CONF = Path(__file__).parents[2] / "conf"
GROUPS = tuple(sorted(f.name for f in CONF.iterdir() if f.is_dir() and f.name != "__pycache__"))
# Hydra does not name the group in its message about one of these values.
NOT_A_CHOICE = re.compile(r"null|true|false|[-+\d\[][^']*")
HELP = ("--help", "-h")
SWEEP = ("-m", "--multirun")
HYDRA = "cfg config- experimental help hydra- info multirun package resolve run shell-c version"
WITH_VALUE = (  # the next word is theirs
    "--cfg", "-c", "--info", "-i", "--package", "-p", "--config-name", "-cn",
    "--config-path", "-cp", "--config-dir", "-cd", "--experimental-rerun",
)  # fmt: skip
FLAGS = tuple(f"--{flag}" for flag in HYDRA.split())


def split_words(words: Sequence[str], own: Collection[str]) -> tuple[list[str], Overrides]:
    """Separate the words for a script and its flags from the options of train.py.

    `own` are the names of the script's own options and groups. With a flag for help, all words are
    for the script.
    """
    if set(HELP) & set(words):
        return list(words), {}
    for_script, for_runs = [], []
    for word in words:
        mine = word.startswith("-") or re.split("[.=]", word.lstrip("+"))[0] in {*own, "debug"}
        (for_script if mine else for_runs).append(word)
    return for_script, parse_overrides(for_runs)


def parse_overrides(words: Iterable[str]) -> Overrides:
    """`key=value` words as a mapping, old option names renamed; ConfigError for another word."""
    pairs = [word.lstrip("+").partition("=") for word in words]
    if wrong := [key for key, equals, _ in pairs if not equals]:
        raise ConfigError(f"{wrong[0]}: write {wrong[0]}=VALUE; --help lists the options")
    return {option(key): value for key, _, value in pairs}


def sweep_values(key: str, text: str) -> list[str]:
    """The values of `key=text` in a sweep: `a,b` has two values, and `[a,b]` has one.

    ConfigError if Hydra cannot read the text.
    """
    try:
        override = OverridesParser.create().parse_override(to_hydra(f"{key}={text}"))
    except HydraException as error:
        raise ConfigError(f"{key}={text}: this value cannot be read") from error
    return list(override.sweep_string_iterator()) if override.is_sweep_override() else [text]


def choices(group: str, text: str) -> list[str]:
    """The names in `group=text`; `all` stands for each file of conf/GROUP, `none` first."""
    if text != "all":
        return sweep_values(group, text)
    every = sorted(file.stem for file in (CONF / group).glob("*.yaml"))
    return sorted(every, key=lambda name: name != "none")


def to_hydra(word: str) -> str:
    """`key=value` as `++key=value`: Hydra accepts a wrong key, and check_names explains it.

    Choices of a group, flags and Hydra's own options keep their form, without a needless plus.
    An old option name becomes the new one. Paths are quoted: Hydra's grammar allows no `=` in a
    value, and run directories contain it. ConfigError for a choice that is no name.
    """
    key, equals, value = word.partition("=")
    name = option(key.lstrip("+"))
    if not equals or key.startswith(("-", "~")) or "/" in name or name.startswith("hydra."):
        return word
    if ("/" in value or not value.isascii()) and value[0] not in "'\"{":
        value = _quote(value)
    if name == "seeds" and value.startswith("+"):  # three more, and not the number 3
        value = f"'{value}'"
    if value.startswith("~/"):
        value = os.path.expanduser(value)
    if name in GROUPS:
        _check_choice(name, value)
        return f"{name}='{value}'" if NOT_A_CHOICE.fullmatch(value) else f"{name}={value}"
    return f"++{name}={value}"


def _check_choice(group: str, value: str) -> None:
    """ConfigError for a path in place of a name: one choice would get several names."""
    for choice in value.strip("'\"").split(","):
        parts = choice.strip().split("/")
        if "" in parts[:-1] or ".." in parts or choice.endswith((".yaml", ".yml")):
            raise ConfigError(f"{group}={choice}: a choice is a name in conf/{group}, such as none")


def flags_last(words: Sequence[str]) -> list[str]:
    """The same words, `key=value` first: argparse takes no words behind a flag with a value."""
    values, flags, after = [], [], ""
    for word in words:
        is_flag = word.startswith("-")
        taken = after in WITH_VALUE and not is_flag and "=" not in word
        (flags if is_flag or taken else values).append(word)
        after = word if is_flag else ""
    return values + flags


def wrong_flag(words: Sequence[str], config_name: str) -> str | None:
    """A message about the first flag that the script `config_name` does not have, if any."""
    if world_size() > 1 and (config_name != "train" or set(SWEEP) & set(words)):
        return "torchrun is for one run of train.py; for several, see docs/scale.md"
    for word in words:
        if word.startswith("--") and not word.startswith(FLAGS):
            return f"{word}: write KEY=VALUE without dashes, as in seed=1; see --help"
    return None


def _quote(value: str) -> str:
    """A path, or each path of a list, in quotes; a value that needs no quotes stays as it is."""
    if not value.startswith("["):
        taken = value.isascii() and "=" not in value and not os.path.exists(value)
        return value if taken else "'" + value.replace("'", r"\'") + "'"
    if set(value) & set("'\"{") or not value.endswith("]"):
        return value
    paths: list[str] = []
    for part in value[1:-1].split(","):
        if paths and not os.path.exists(paths[-1]):  # the comma is a character of the path
            paths[-1] += f",{part}"
        else:
            paths.append(part)
    return f"[{','.join(map(_quote, paths))}]"
