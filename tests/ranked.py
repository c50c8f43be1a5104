"""Ranks without torchrun: processes forked from one that has imported everything."""

import os
import socket
import sys
from functools import partial

from tests.faults.children import _train, context


def environment(rank, world, port):
    """What torchrun tells a rank."""
    words = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    words |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({key: str(value) for key, value in words.items()})


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(world, function, *arguments):
    """A process for each rank, which calls `function(*arguments)`."""
    port = free_port()
    processes = [
        context.Process(target=_rank, args=(rank, world, port, function, arguments))
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    return processes


def run(world, function, *arguments):
    """The same to their end: their exit codes."""
    processes = start(world, function, *arguments)
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def start_training(world, cwd, *arguments, harm=None):
    """Ranks that do `python train.py *arguments` in `cwd`; `harm` is what (rank, action) breaks."""
    return start(world, _train, str(cwd), arguments, partial(_harmed, harm) if harm else None)


def train(world, cwd, *arguments, harm=None):
    """The same to their end: their exit codes."""
    processes = start_training(world, cwd, *arguments, harm=harm)
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def _rank(rank, world, port, function, arguments):
    environment(rank, world, port)
    function(*arguments)
    sys.stdout.flush()


def _harmed(harm):
    rank, action = harm
    if os.environ["RANK"] == str(rank):
        action()
