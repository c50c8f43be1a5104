"""train.py again and again from one process that has torch loaded, each time in a fork.

    python forked.py JOBS.json

A job has `arguments` and `cwd`, and may have what is to be done to it: `kill`, the tick at which it
gets a SIGKILL; `forget`, a part of the state that it does not restore; `spoil`, the number that is
none in the third update of the second epoch. A tick is the moment in front of and behind each
update of the weights, in front of each evaluation and behind each line of the log. Prints the exit
codes as a list.
"""

import itertools
import json
import math
import os
import signal
import sys
import traceback
from pathlib import Path

from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

import engine.digits
import engine.log
import engine.loop
import train
from engine.recipe import Recipe
from engine.run import Run
from scripts.door import door


def kill(at):
    """SIGKILL at tick number `at`, counted from 1."""
    ticks = itertools.count(1)

    def tick(*_):
        if next(ticks) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    register_optimizer_step_pre_hook(tick)
    register_optimizer_step_post_hook(tick)
    evaluate, epoch = engine.loop.evaluate, engine.log.Log.epoch
    engine.loop.evaluate = lambda *args, **options: (tick(), evaluate(*args, **options))[1]
    engine.log.Log.epoch = lambda *args: (epoch(*args), tick())[0]


def forget(part):
    restore = Run.load_state_dict
    Run.load_state_dict = lambda run, state: restore(run, state | {part: run.state_dict()[part]})


def spoil_output(module, args, output):
    return output + math.inf


def spoil_gradient(module, args, output):
    output.register_hook(lambda gradient: gradient * math.inf)


def spoil(what):
    """Make a number of a resnet20 infinite, or its gradient, each time the update is made."""
    step = engine.loop.train_step

    def spoiled(run, pixels, targets, *counts):
        if (run.epoch, run.step) != (1, 2):
            return step(run, pixels, targets, *counts)
        conv, norm = run.model.layer2[1].conv1, run.model.layer2[1].bn1
        loss, parts = Recipe.loss, {"output": spoil_output, "gradient": spoil_gradient}
        hook = conv.register_forward_hook(parts.get(what, lambda *_: None), prepend=True)
        if what == "loss":
            Recipe.loss = lambda *args: loss(*args) * math.inf
        step(run, pixels * math.inf if what == "input" else pixels, targets, *counts)
        Recipe.loss = loss
        hook.remove()
        for tensor in {"buffer": [norm.running_var], "weight": [conv.weight]}.get(what, ()):
            tensor.data.fill_(math.inf)

    engine.loop.train_step = spoiled


def child(job):
    os.makedirs(job["cwd"], exist_ok=True)
    os.chdir(job["cwd"])
    output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(output, stream)
    for act in (kill, forget, spoil):
        if given := job.get(act.__name__):
            act(given)
    sys.argv = ["train.py", *job["arguments"]]
    door(train.main, "train")


def run(job):
    """The exit code of the job: negative, the signal that ended it."""
    process = os.fork()
    if process == 0:
        code = 1
        try:
            child(job)
            code = 0
        except SystemExit as end:
            code = end.code
        except Exception:
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


if __name__ == "__main__":
    engine.digits._read(8)
    print(json.dumps([run(job) for job in json.loads(Path(sys.argv[1]).read_text())]))
