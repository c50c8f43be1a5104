"""After an interruption while TensorBoard writes, each step appears once."""

import os
import random
import signal
from functools import partial

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.tensorboard import SummaryWriter

from tests.faults.children import SMALL, run_of, same, train, wrap

pytestmark = pytest.mark.fault("F14")

WRITES = 18  # the scalars of two epochs


def interrupt(number, write):
    """In write number `write`; 0: after the second epoch's points, before its checkpoint."""
    where = ("torch.utils.tensorboard", "SummaryWriter.add_scalar", write)
    wrap(
        *(where if write else ("engine.training.run", "Run.next_epoch", 2)),
        lambda: os.kill(os.getpid(), number),
    )


def clean(folder):
    """Whether every step appears once, in one run, with hparams."""
    board = EventAccumulator(str(folder)).Reload()
    tags = board.Tags()["scalars"]
    steps = [[event.step for event in board.Scalars(tag)] for tag in tags]
    one_run = not [path for path in folder.rglob("*") if path.is_dir()]
    hparams = "_hparams_/session_start_info" in board.PluginTagToContent("hparams")
    every_epoch = {tuple(s) for tag, s in zip(tags, steps, strict=True) if tag[:4] != "test"}
    return tags and every_epoch == {(1, 2)} and one_run and hparams


def test_interrupted_while_it_writes(tmp_path, unbroken, rounds, tally):
    draw, outcomes = random.Random(0), []
    for i in range(rounds(2, 20)):
        number = (signal.SIGKILL, signal.SIGTERM)[i % 2]
        write = draw.randint(1, WRITES) if i % 4 else 0
        cwd = tmp_path / str(i)
        cwd.mkdir()
        code = train(cwd, *SMALL, before=partial(interrupt, number, write))
        again = train(cwd, *SMALL)
        folder = run_of(cwd)
        ended = code == (143 if number == signal.SIGTERM else -signal.SIGKILL)
        outcomes.append(ended and again == 0 and clean(folder) and same(folder, unbroken))
    tally("F14", "SIGTERM or SIGKILL in TensorBoard's writing: every step once", outcomes)


def test_control_a_step_that_is_there_twice_is_seen(unbroken, tmp_path):
    assert clean(unbroken)
    (events,) = unbroken.glob("events.out.*")
    (tmp_path / events.name).write_bytes(events.read_bytes())
    assert clean(tmp_path)
    with SummaryWriter(tmp_path) as board:  # without telling TensorBoard where the run resumed
        board.add_scalar("train/loss", 1.0, 2)
    assert not clean(tmp_path)
