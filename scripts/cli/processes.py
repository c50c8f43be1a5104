"""The processes of a sweep, which end together."""

import os
import sys
from collections.abc import Collection

from hydra.core.hydra_config import HydraConfig

from engine.signals import end_with_parent, exit_on_signals

PARENT = "ATTNBENCH_PARENT"  # the number of the process that started this sweep and waits for it


def join_sweep() -> None:
    """In a sweep that a table started, end with the table."""
    if os.environ.pop(PARENT, None) == str(os.getppid()):
        end_with_parent()


def join_workers() -> bool:
    """In a worker of joblib, end with the sweep; whether this process is such a worker."""
    target = HydraConfig.get().launcher.get("_target_", "")
    is_worker = "joblib" in target and "joblib.externals.loky.process_executor" in sys.modules
    if is_worker and not workers():
        exit_on_signals()
        end_with_parent()
        return True
    return False


def workers() -> Collection[int]:
    """The numbers of the processes in which joblib runs this sweep's jobs."""
    return list(getattr(_executor(), "_processes", None) or ())


def workers_that_save() -> Collection[int]:
    """The same, for their end: joblib would kill all of them as soon as the first one has ended."""
    manager = getattr(_executor(), "_executor_manager_thread", None)
    if manager is not None:
        manager.terminate_broken = lambda error: None
    return workers()


def _executor() -> object:
    loky = sys.modules.get("joblib.externals.loky.reusable_executor")
    return getattr(loky, "_executor", None)
