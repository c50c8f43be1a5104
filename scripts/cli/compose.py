"""Compose the configuration of a run, check its names and values, and build its objects.

Names are checked before torch is imported, and values before any data is read.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from engine.errors import ConfigError, first_line, place
from scripts.cli.overrides import CONF, GROUPS, Overrides, to_hydra
from scripts.cli.own_module import error_of_module
from scripts.cli.recipe_files import complete_recipes
from scripts.cli.suggest import hint
from scripts.cli.targets import BrokenSource, UnknownTarget, options, takes_mapping

Choices = Mapping[str, str | None]  # group -> the chosen file of conf/GROUP

SPECIAL = ("_target_", "_partial_")
SOURCE_WRONG = (ImportError, NameError, AttributeError, SyntaxError)  # when a module is imported
VALUES_WRONG = (ValueError, TypeError, ArithmeticError, RuntimeError, MemoryError)

complete_recipes(CONF)


class UnknownName(ConfigError):
    """A key, an option or a target does not exist. In a sweep, this error ends the whole sweep."""


def compose_run(overrides: Overrides, own: Collection[str] = ()) -> tuple[DictConfig, Choices]:
    """The configuration of one run of train.py, its names checked, and the choice in each group.

    `own` are options of the calling script: a message about an unknown name can suggest them.
    """
    words = [to_hydra(f"{key}={value}") for key, value in overrides.items()]
    cfg = hydra.compose("train", words, return_hydra_config=True)
    choices = cfg.hydra.runtime.choices
    OmegaConf.set_struct(cfg, False)
    cfg.pop("hydra")
    known = defaults_of("train", choices)
    OmegaConf.set_struct(known, False)
    check_names(cfg, OmegaConf.merge(known, dict.fromkeys(own)))
    return cfg, choices


def defaults_of(config_name: str, choices: Choices | None = None) -> DictConfig:
    """The configuration of these choices with every option at its default.

    Without `choices`, those of the command line that this process was started with.
    """
    choices = choices or HydraConfig.get().runtime.choices
    words = [f"{group}={choices[group]}" for group in GROUPS if choices.get(group)]
    return hydra.compose(config_name, [w for w in words if not w.startswith("experiment=")])


def check_names(cfg: DictConfig, known: DictConfig) -> None:
    """Raise UnknownName for the first key that nothing reads; the message names the nearest key.

    `known` holds the keys that exist where a node of `cfg` has no `_target_`.
    """
    _check_below("", cfg, known, known)


def _check_below(path: str, cfg: DictConfig, known: DictConfig, root: DictConfig) -> None:
    """Check the node `cfg` at `path`; `known` is the same node of `root`."""
    target = cfg.get("_target_")
    allowed = [*_options_of(target, path), *SPECIAL] if "_target_" in cfg else list(known)
    if "_target_" in known and _partial(cfg) is not _partial(known):
        raise UnknownName(f"{path}._partial_={_partial(cfg)}: this is no option; leave it out")
    for key in cfg:
        where = f"{path}.{key}" if path else str(key)
        if key not in allowed:
            value = OmegaConf.to_container(cfg)[key]
            meant = hint(where, value, allowed, root, target)
            raise UnknownName(f"unknown option {where}; {meant}")
        node = cfg._get_node(key)
        if isinstance(node, DictConfig) and not node._is_interpolation() and not node._is_none():
            free = "_target_" in cfg and takes_mapping(target, str(key))
            below = node if free else known._get_node(key) if key in known else None
            below = below if isinstance(below, DictConfig) else OmegaConf.create()
            _check_below(where, node, below, root)


def build(node: DictConfig) -> Any:
    """The object that a node of the configuration describes.

    ConfigError for a wrong value, and for a mistake in the source of a class, with file and line.
    """
    from scripts.cli.type_check import check_values  # imports the targets' modules, and so torch

    key = node._get_full_key(None)
    resolved = OmegaConf.to_container(node, resolve=True)
    for target in _targets(resolved):  # check_names sees no target in a list or behind ${...}
        _options_of(target, key)
    try:
        check_values(resolved, key)
        return hydra.utils.instantiate(node, _convert_="all")
    except (InstantiationException, *SOURCE_WRONG) as error:
        cause: BaseException = error
        while isinstance(cause, InstantiationException) and cause.__cause__:
            cause = cause.__cause__
        if said := error_of_module(cause):
            raise ConfigError(said) from error
        if isinstance(cause, VALUES_WRONG):
            raise ConfigError(f"{key}: {first_line(cause)}") from error
        # A mistake in the source of the class, such as a name that does not exist.
        raise ConfigError(f"{place(cause)}: {type(cause).__name__}: {first_line(cause)}") from error


def count_classes(path: str, chosen: int | Sequence[str] | None = None) -> int:
    """The number of classes for `${classes:PATH,CHOSEN}`: `chosen`, or the folders of PATH/train.

    Without train and test in PATH, the folders of PATH, which data.split divides. ConfigError if
    there are none.
    """
    if chosen is not None:
        return chosen if isinstance(chosen, int) else len(chosen)
    root = Path(path).expanduser()
    train = root / "train"
    if train.is_dir():
        return len(_folders(train))
    if (root / "test").is_dir() or not (found := _folders(root)):
        raise ConfigError(f"data: there is no {train}: expected {train}/<class>/*.jpg")
    return len(found)


def _folders(root: Path) -> list[Path]:
    visible = (entry for entry in root.glob("*") if not entry.name.startswith("."))
    return [entry for entry in visible if entry.is_dir()]


def _targets(tree: Any) -> Iterator[str]:
    """Every `_target_` in a resolved configuration, at any depth."""
    if isinstance(tree, dict) and "_target_" in tree:
        yield tree["_target_"]
    if isinstance(tree, dict | list):
        for item in tree.values() if isinstance(tree, dict) else tree:
            yield from _targets(item)


def _partial(node: DictConfig) -> Any:
    return node.get("_partial_", False)


def _options_of(target: str, path: str) -> tuple[str, ...]:
    if not isinstance(target, str):
        raise UnknownName(f"{path}._target_={target}: expected a class, such as attn.NAM")
    try:
        return options(target)
    except BrokenSource as error:
        raise UnknownName(str(error)) from error
    except UnknownTarget as error:
        raise UnknownName(f"{path}._target_: {error}") from error
