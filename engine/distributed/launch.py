"""Join the processes that torchrun started for this run, if any.

This file imports no torch, so a finished run is recognised at once.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from engine.distributed.ranks import SINGLE_PROCESS, Ranks
from engine.errors import ConfigError


def world_size() -> int:
    """The number of processes that torchrun started; 1 without torchrun.

    ConfigError if the variables of torchrun are incomplete or no numbers.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    needed = ("RANK", "LOCAL_RANK") if size != "1" else ()
    for name in ("WORLD_SIZE", *needed):
        value = os.environ.get(name, "1" if name == "WORLD_SIZE" else "")
        if not value.isdecimal():
            raise ConfigError(f"{name}={value}: torchrun sets this variable to a number; unset it")
    return int(size)


@contextmanager
def process_group(identity: str) -> Iterator[Ranks]:
    """A context with the ranks of this run; all must have the same `identity`."""
    if world_size() == 1:
        yield SINGLE_PROCESS
        return
    from engine.distributed.process_group import init_process_group

    with init_process_group(identity) as ranks:
        yield ranks
