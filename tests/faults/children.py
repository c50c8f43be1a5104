"""Processes for faults: they train, and are forked from a process that has imported everything.

A run of SMALL takes half a second. A process writes its output to the files `out` and `err` of its
folder. A process calls `before` first; `before` sets up the fault.
"""

import importlib
import json
import multiprocessing
import os
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SMALL = (
    "data=digits", "data.image_size=8", "data.val=1277", "model=resnet20", "recipe=digits",
    "recipe.batch_size=32", "recipe.epochs=2", "device=cpu", "checkpoint_seconds=0",
)  # fmt: skip
CLOCK = ("train_seconds", "images_per_second")
IMPORTED = (
    "train", "engine.training.fit", "engine.training.loop", "engine.training.logger",
    "engine.training.result",
    "engine.datasets.digits", "models.resnet",
    "scripts.cli.type_check", "sklearn.datasets", "torch._inductor.config", "tests.faults.harm",
    "tests.faults.children",
)  # fmt: skip

os.environ["PYTHONPATH"] = str(ROOT)  # for the process from which all are forked
context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(list(IMPORTED))


def start(cwd, *arguments, before=None):
    """Start `python train.py *arguments` in `cwd`; return the process."""
    process = context.Process(target=_train, args=(str(cwd), arguments, before))
    process.start()
    return process


def train(cwd, *arguments, before=None):
    """Run the same to the end; return the exit code, or minus the signal that killed it."""
    cwd.mkdir(exist_ok=True)
    process = start(cwd, *arguments, before=before)
    process.join()
    return process.exitcode


def said(cwd):
    """The text that the processes in `cwd` wrote to stderr."""
    return (cwd / "err").read_text()


def fork(function, *arguments):
    """Call the function in a new process; return the exit code."""
    process = context.Process(target=function, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def run_of(cwd):
    """The only run below `cwd`."""
    (config,) = cwd.rglob("config.yaml")
    return config.parent


def result_of(folder):
    """The result of a run without the numbers that depend on the clock."""
    result = json.loads((folder / "result.json").read_text())
    return {key: value for key, value in result.items() if key not in CLOCK}


def same(a, b):
    """Whether two finished runs have bit-equal weights and logs, and the same result."""
    files = ("weights.safetensors", "metrics.jsonl")
    equal = all((a / name).read_bytes() == (b / name).read_bytes() for name in files)
    return equal and result_of(a) == result_of(b)


def tidy(folder):
    """Whether no unfinished file and no lock is left."""
    return not [*folder.glob("*.tmp"), *folder.glob("lock")]


def wrap(where, name, count, action):
    """Call `action` just before call number `count` of the function."""
    owner = importlib.import_module(where)
    *of, name = name.split(".")
    for part in of:
        owner = getattr(owner, part)
    original, calls = getattr(owner, name), [0]

    def wrapped(*arguments, **options):
        calls[0] += 1
        if calls[0] == count:
            action()
        return original(*arguments, **options)

    setattr(owner, name, wrapped)


def _train(cwd, arguments, before):
    os.setsid()  # a process group of its own
    os.chdir(cwd)
    for descriptor, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    if before:
        before()
    import train
    from scripts.cli.app import run_app

    sys.argv = ["train.py", *arguments]
    run_app(train.main, "train")
