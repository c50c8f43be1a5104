"""Faults for a run in a process of `tests.faults.children`, set up by `before`.

Ticks are the moments before and after each update of the weights, before each evaluation, and
after each line of the log.
"""

import itertools
import math
import os
import signal

from torch.optim.optimizer import (
    register_optimizer_step_post_hook,
    register_optimizer_step_pre_hook,
)

import engine.training.fit
import engine.training.loop
from engine.training.logger import RunLogger
from engine.training.recipe import Recipe
from engine.training.run import Run


def kill(at):
    """SIGKILL at tick number `at`, counted from 1."""
    ticks = itertools.count(1)

    def tick(*_):
        if next(ticks) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    register_optimizer_step_pre_hook(tick)
    register_optimizer_step_post_hook(tick)
    evaluate, epoch = engine.training.fit.evaluate, RunLogger.epoch
    engine.training.fit.evaluate = lambda *args: (tick(), evaluate(*args))[1]
    RunLogger.epoch = lambda *args: (epoch(*args), tick())[0]


def forget(part):
    """Make a resumed run ignore this part of its checkpoint."""
    restore = Run.load_state_dict
    Run.load_state_dict = lambda run, state: restore(run, state | {part: run.state_dict()[part]})


def spoil_output(module, args, output):
    return output + math.inf


def spoil_gradient(module, args, output):
    output.register_hook(lambda gradient: gradient * math.inf)


def spoil(what):
    """Make one number of a ResNet-20 infinite in the third update of epoch 2."""
    step = engine.training.loop.train_step

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

    engine.training.loop.train_step = spoiled
