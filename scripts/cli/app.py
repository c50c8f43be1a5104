"""Run a command: Hydra composes its configuration, wrong input is answered in one line.

docs/reliability.md lists the exit codes.
"""

import logging
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from engine.errors import ConfigError, RunError
from engine.signals import exit_on_signals
from scripts.cli.compose import UnknownName, check_names, count_classes, defaults_of
from scripts.cli.first_steps import without_words
from scripts.cli.help import help_text
from scripts.cli.messages import translated
from scripts.cli.overrides import CONF, flags_last, to_hydra, wrong_flag
from scripts.cli.own_module import error_of_module, print_trace, take_debug
from scripts.cli.processes import join_sweep, join_workers, workers_that_save
from scripts.cli.terminal import printable, use_ascii_signs_where_needed, written_out


def run_app(task: Callable[[DictConfig], Any], config_name: str) -> None:
    """Compose `config_name` with the words of the command line; call `task` once for each run."""
    exit_on_signals(workers_that_save)
    join_sweep()
    use_ascii_signs_where_needed()
    _require_hydra_that_runs()
    _prepare_words(config_name)
    _prepare_libraries()
    version = {} if hydra.__version__ >= "1.4" else {"version_base": "1.3"}
    decorate = hydra.main(config_path=str(CONF), config_name=config_name, **version)
    with written_out():
        if said := _help(config_name):
            print(said)
            return
        _answered(decorate(_in_one_line(task, config_name)))


def _answered(command: Callable[[], Any]) -> None:
    """Call the command; an error outside of its jobs ends the process with one line."""
    try:
        command()
    except (HydraException, OmegaConfBaseException) as error:
        sys.exit(refuse(translated(error)))
    except (ValueError, AssertionError, AttributeError) as error:  # wrong options of Hydra itself
        if _in_job(error):
            raise
        sys.exit(refuse(translated(error)))
    except RecursionError as error:
        if _in_job(error):
            raise
        sys.exit(refuse("the command line is nested too deeply"))
    except RunError as error:
        sys.exit(error.exit_code)  # the job of the sweep printed the message
    except KeyboardInterrupt:
        sys.exit(130)


def refuse(message: str, more: Sequence[str] = ()) -> int:
    """Print the one line that says why the command does not run; return its exit code, 2.

    `more` lines follow where the answer is a choice.
    """
    rank = os.environ.get("RANK", "0")
    if rank == "0" or not rank.isdecimal():  # all ranks of a run have the same command line
        lines = [f"{Path(sys.argv[0]).name}: {printable(message)}", *map(printable, more)]
        print(*lines, sep="\n", file=sys.stderr)
    return ConfigError.exit_code


def _in_one_line(task: Callable[[DictConfig], Any], config_name: str) -> Callable[..., Any]:
    """`task` for one job: an error is printed at once, and ends this job or the whole sweep."""

    def job(cfg: DictConfig) -> Any:
        in_worker = join_workers()
        try:
            with written_out():
                check_names(cfg, defaults_of(config_name))
                return task(cfg)
        except Exception as error:
            if (refusal := _refusal(error)) is None:
                raise
            print_trace(error)
            refuse(str(refusal))
            # Hydra keeps the error for the rest of the sweep; its frames keep the job's tensors.
            traceback.clear_frames(error.__traceback__)
            if isinstance(error, UnknownName) or HydraConfig.get().mode is RunMode.RUN:
                raise SystemExit(refusal.exit_code) from error
            raise refusal from error
        except SystemExit as error:
            if in_worker and error.code > 128:  # joblib would give this process the next job
                os._exit(error.code)
            raise

    return job


def _refusal(error: Exception) -> RunError | None:
    """The error as one that is printed in a line; None if its traceback is needed."""
    if isinstance(error, RunError):
        return error
    if isinstance(error, HydraException | OmegaConfBaseException):
        return ConfigError(translated(error))
    said = error_of_module(error)
    return ConfigError(said) if said else None


def _in_job(error: BaseException) -> bool:
    return any(frame.name == "job" for frame in traceback.extract_tb(error.__traceback__))


def _prepare_words(config_name: str) -> None:
    """Turn the command line into words for Hydra, or end with one line about a wrong word."""
    try:
        sys.argv[1:] = take_debug(sys.argv[1:])
        if wrong := wrong_flag(sys.argv[1:], config_name):
            raise ConfigError(wrong)
        if not sys.argv[1:] and (said := without_words(config_name)):
            sys.exit(refuse(*said))
        sys.argv[1:] = flags_last([to_hydra(word) for word in sys.argv[1:]])
    except ConfigError as error:
        sys.exit(refuse(str(error)))


def _help(config_name: str) -> str | None:
    try:
        return help_text(config_name, sys.argv[1:])
    except ConfigError as error:
        sys.exit(refuse(str(error)))


def _prepare_libraries() -> None:
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises its errors instead of printing them
    # A launcher's processes import the packages of this checkout, from whatever folder they start.
    paths = [str(CONF.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    # Threads that spin at barriers slow a busy CPU down many times.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    # A compilation for the CPU warns that the CUDA toolkit finds no GPU.
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
    OmegaConf.register_new_resolver("classes", count_classes, replace=True)


def _require_hydra_that_runs() -> None:
    if sys.version_info >= (3, 14) and hydra.__version__ < "1.4":
        sys.exit(
            refuse("Hydra 1.3 does not run on Python 3.14: pip install --pre 'hydra-core>=1.4rc'")
        )
