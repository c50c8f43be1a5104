"""The way in: Hydra composes, wrong input is answered in one line with exit code 2.

Names are checked before torch is imported, values before any data is read.
"""

import difflib
import logging
import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from engine.distributed.launch import world_size
from engine.errors import ConfigError, RunError
from engine.signals import exit_on_signals
from engine.storage.renamed import option
from scripts.cli.messages import first_line, translated
from scripts.cli.recipe_files import complete_recipes
from scripts.cli.targets import UnknownTarget, options

CONF = Path(__file__).parents[2] / "conf"
GROUPS = tuple(sorted(f.name for f in CONF.iterdir() if f.is_dir() and f.name != "__pycache__"))
SPECIAL = ("_target_", "_partial_")
NO_CHOICE = re.compile(r"null|true|false|[-+\d\[][^']*")  # for these Hydra does not name the group
SWEEP = ("-m", "--multirun")  # put first: argparse takes no words on both sides of a flag
HYDRA = "cfg config- experimental help hydra- info multirun package resolve run shell-c version"
FLAGS = tuple(f"--{flag}" for flag in HYDRA.split())
VALUES_WRONG = (ValueError, TypeError, ArithmeticError, RuntimeError, MemoryError)

complete_recipes(CONF)


class UnknownName(ConfigError):
    """A key, an option or a target that does not exist; in a sweep it ends the whole sweep."""


def run_app(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Compose `config_name` from the command line and call `task` with it, once for each run."""
    exit_on_signals()
    _require_hydra_that_runs()
    if wrong := _wrong_flags(sys.argv[1:], config_name):
        sys.exit(say(wrong))
    os.environ["HYDRA_FULL_ERROR"] = "1"  # exceptions come here instead of being printed
    # Threads that spin at barriers make a CPU that does anything else besides many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # Compiling for a CPU warns of a CUDA toolkit that has no GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    sys.argv[1:] = sorted(map(forced, sys.argv[1:]), key=lambda a: a not in SWEEP)
    OmegaConf.register_new_resolver("classes", count_classes, replace=True)
    version = {} if hydra.__version__ >= "1.4" else {"version_base": "1.3"}
    decorate = hydra.main(config_path=str(CONF), config_name=config_name, **version)
    try:
        decorate(_answering(task, config_name))()
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(say(translated(error)))
    except (ValueError, AssertionError) as error:  # flags that Hydra does not take together
        if _in_task(error):
            raise
        sys.exit(say(translated(error)))
    except RunError as error:
        sys.exit(error.exit_code)  # said when it happened, in one job of a sweep
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # nobody reads on: --help | head
        os._exit(141)


def forced(argument: str) -> str:
    """`key=value` as `++key=value`: a wrong key passes Hydra and meets our check, which says more.

    Choices of a group, flags and Hydra's own options stay as they are, but for a needless plus.
    An old name of an option becomes today's.
    Paths are quoted, for Hydra's grammar knows no `=` in a value and our directories have some.
    """
    key, equals, value = argument.partition("=")
    name = option(key.lstrip("+"))
    if not equals or key.startswith(("-", "~")) or "/" in name or name.startswith("hydra."):
        return argument
    if ("/" in value or not value.isascii()) and value[0] not in "'\"{":
        value = _quoted(value)
    if name in GROUPS:
        return f"{name}='{value}'" if NO_CHOICE.fullmatch(value) else f"{name}={value}"
    return f"++{name}={value}"


def _wrong_flags(arguments: Sequence[str], config_name: str) -> str | None:
    if world_size() > 1 and (config_name != "train" or set(SWEEP) & set(arguments)):
        return "torchrun is for one run of train.py; for several, see docs/scale.md"
    for argument in arguments:
        if argument.startswith("--") and not argument.startswith(FLAGS):
            return f"{argument}: write KEY=VALUE without dashes, as in seed=1; see --help"
    return None


def _quoted(value: str) -> str:
    """A path, or a list of paths, in quotes; what may be something else as it is."""
    if not value.startswith("["):
        taken = value.isascii() and "=" not in value and not os.path.exists(value)
        return value if taken else "'" + value.replace("'", r"\'") + "'"
    if set(value) & set("'\"{") or not value.endswith("]"):
        return value
    paths: list[str] = []
    for part in value[1:-1].split(","):
        if paths and not os.path.exists(paths[-1]):  # the comma belongs to the name
            paths[-1] += f",{part}"
        else:
            paths.append(part)
    return f"[{','.join(map(_quoted, paths))}]"


def plain(config_name: str, choices: Mapping[str, str | None] | None = None) -> DictConfig:
    """The same choices with nothing else said: what a run is compared with, and its keys."""
    choices = choices or HydraConfig.get().runtime.choices
    said = [f"{group}={choices[group]}" for group in GROUPS if choices.get(group)]
    return hydra.compose(config_name, [c for c in said if not c.startswith("experiment=")])


def check_names(cfg: DictConfig, known: DictConfig, path: str = "") -> None:
    """Raise UnknownName for a key that nothing reads, naming the nearest that something does."""
    target = cfg.get("_target_")
    allowed = [*_options_of(target, path), *SPECIAL] if "_target_" in cfg else list(known)
    if "_target_" in known and _partial(cfg) is not _partial(known):
        raise UnknownName(f"{path}._partial_={_partial(cfg)}: this is no option; leave it out")
    for key in cfg:
        where = f"{path}.{key}" if path else str(key)
        if key not in allowed:
            raise UnknownName(f"unknown option {where}; {_hint(key, allowed, path, target)}")
        node = cfg._get_node(key)
        if isinstance(node, DictConfig) and not node._is_interpolation() and not node._is_none():
            below = known._get_node(key) if key in known else None
            check_names(node, below if isinstance(below, DictConfig) else OmegaConf.create(), where)


def build(node: DictConfig) -> Any:
    """What a node of the configuration describes; ConfigError where its values are wrong."""
    from scripts.cli.type_check import check_values  # it imports what the targets are in: torch

    key = node._get_full_key(None)
    resolved = OmegaConf.to_container(node, resolve=True)
    for target in _targets(resolved):  # in a list or behind ${...} check_names sees none of them
        _options_of(target, key)
    check_values(resolved, key)
    try:
        return hydra.utils.instantiate(node, _convert_="all")
    except InstantiationException as error:
        cause: BaseException = error
        while isinstance(cause, InstantiationException) and cause.__cause__:
            cause = cause.__cause__
        if not isinstance(cause, VALUES_WRONG):
            raise
        raise ConfigError(f"{key}: {first_line(cause)}") from error


def count_classes(path: str, chosen: int | Sequence[str] | None = None) -> int:
    """`${classes:PATH}`: the number of class folders in PATH/train; `${classes:PATH,CHOSEN}`: of
    those chosen, where not null."""
    if chosen is not None:
        return chosen if isinstance(chosen, int) else len(chosen)
    train = Path(path, "train")
    if not train.is_dir():
        raise ConfigError(f"data: there is no {train}: expected {train}/<class>/*.jpg")
    return sum(entry.is_dir() and not entry.name.startswith(".") for entry in train.iterdir())


def _answering(task: Callable[[DictConfig], Any], config_name: str) -> Callable[..., Any]:
    """`task` for one job: what is wrong with it is said at once, and ends this job or all."""

    def job(cfg: DictConfig) -> Any:
        try:
            check_names(cfg, plain(config_name))
            return task(cfg)
        except (RunError, HydraException, OmegaConfBaseException) as error:
            refusal = error if isinstance(error, RunError) else ConfigError(translated(error))
            say(str(refusal))
            # Hydra keeps the error, and with it all that the job held, while a sweep goes on.
            traceback.clear_frames(error.__traceback__)
            if isinstance(error, UnknownName) or HydraConfig.get().mode is RunMode.RUN:
                raise SystemExit(refusal.exit_code) from error
            raise refusal from error

    return job


def _targets(tree: Any) -> Iterator[str]:
    """Every `_target_` in a resolved configuration, in whatever it is wrapped."""
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
    except UnknownTarget as error:
        raise UnknownName(f"{path}._target_: {error}") from error


def _hint(key: str, allowed: Iterable[str], path: str, target: str | None) -> str:
    names = {str(name) for name in allowed} | set(() if path else GROUPS)
    names = sorted(names - {*SPECIAL, "slots"})
    if near := difflib.get_close_matches(str(key), names, 1, 0.5):
        return f"did you mean {path}.{near[0]}?" if path else f"did you mean {near[0]}?"
    return f"there are {', '.join(names)}" if names else f"{target or path} has no options"


def _in_task(error: BaseException) -> bool:
    return any(frame.name == "job" for frame in traceback.extract_tb(error.__traceback__))


def say(message: str) -> int:
    """The one line that a user who is refused gets to read; its exit code."""
    if os.environ.get("RANK", "0") == "0":  # all ranks of a run have the same command line
        print(f"{Path(sys.argv[0]).name}: {message}", file=sys.stderr)
    return 2


def _require_hydra_that_runs() -> None:
    if sys.version_info >= (3, 14) and hydra.__version__ < "1.4":
        sys.exit(
            say("Hydra 1.3 does not run on Python 3.14: pip install --pre 'hydra-core>=1.4rc'")
        )
