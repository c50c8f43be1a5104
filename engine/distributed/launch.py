"""One process, or the several processes that torchrun started for this run.

Importing this module imports no torch, so a finished run is recognised at once.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from engine.distributed.ranks import SINGLE_PROCESS, Ranks


def world_size() -> int:
    """How many processes torchrun started; 1 without it."""
    return int(os.environ.get("WORLD_SIZE", 1))


@contextmanager
def process_group(identity: str) -> Iterator[Ranks]:
    """The ranks of this run, until it ends; each must have been started with one `identity`."""
    if world_size() == 1:
        yield SINGLE_PROCESS
        return
    from engine.distributed.process_group import init_process_group

    with init_process_group(identity) as ranks:
        yield ranks
