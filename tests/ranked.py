"""Ranks without torchrun, forked from a process that has imported everything."""

import os
import socket
import sys
from functools import partial

from tests.faults.children import _train, context


def environment(rank, world, port):
    """Set the variables that torchrun sets for a rank."""
    words = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
    words |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({key: str(value) for key, value in words.items()})


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def start(world, function, *arguments):
    """Start a process per rank that calls `function(*arguments)`."""
    port = free_port()
    processes = [
        context.Process(target=_rank, args=(rank, world, port, function, arguments))
        for rank in range(world)
    ]
    for process in processes:
        process.start()
    return processes


def run(world, function, *arguments):
    """Run the same to the end; return the exit codes."""
    processes = start(world, function, *arguments)
    for process in processes:
        process.join()
    return [process.exitcode for process in processes]


def start_training(world, cwd, *arguments, harm=None):
    """Start `python train.py *arguments` on each rank; `harm` is (rank, its fault)."""
    return start(world, _train, str(cwd), arguments, partial(_harmed, harm) if harm else None)


def train(world, cwd, *arguments, harm=None):
    """Run the same to the end; return the exit codes."""
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
