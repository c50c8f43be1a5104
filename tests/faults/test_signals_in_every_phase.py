"""A signal in any phase: the exit code is 128 + its number, and a rerun ends exactly."""

import os
import random
import signal
import subprocess
import sys
import time
from functools import partial

import pytest

from engine.signals import SIGNALS
from engine.storage.checkpoint import read
from tests.faults.children import ROOT, SMALL, run_of, said, same, tidy, train, wrap

pytestmark = pytest.mark.fault("F3")

PHASES = {  # a function of the phase, and the number of the call that gets the signal
    "build": ("engine.environment", "prepare_device", 1),
    "data wait": ("engine.transforms.batch", "CropFlip.__call__", 7),
    "step": ("engine.training.loop", "train_step", 8),
    "validation": ("engine.training.loop", "predict", 2),
    "saving": ("engine.storage.checkpoint", "verify", 1),
    "between epochs": ("engine.training.run", "Run.next_epoch", 1),
    "result": ("engine.training.result", "cost", 1),
}
IN_LOOP = [phase for phase in PHASES if phase not in ("build", "result")]


def send(number, group):
    os.killpg(0, number) if group else os.kill(os.getpid(), number)


def interrupt(phase, number, group):
    def action():
        with open("sent", "w") as file:
            file.write(str(time.monotonic()))
        send(number, group)

    wrap(*PHASES[phase], action)


def interrupt_twice(number):
    def action():
        send(number, False)
        send(number, False)
        os._exit(1)  # too late

    wrap(*PHASES["step"], action)


def met(cwd, unbroken, phase, number, group, limit):
    """Right exit code, no leftover file, a checkpoint in the loop's phases, and an exact rerun."""
    cwd.mkdir()
    code = train(cwd, *SMALL, before=partial(interrupt, phase, number, group))
    seconds = time.monotonic() - float((cwd / "sent").read_text())
    folders = [config.parent for config in cwd.rglob("config.yaml")]
    left = all((folder / "last.pt").exists() and tidy(folder) for folder in folders)
    told = "Traceback" not in said(cwd) and "run the same command" in said(cwd)
    saved = bool(folders) or phase not in IN_LOOP
    unfinished = not list(cwd.rglob("result.json"))
    again = train(cwd, *SMALL)
    return (
        (code, again) == (128 + number, 0) and left and told and saved and unfinished
        and seconds < limit and same(run_of(cwd), unbroken)
    )  # fmt: skip


def test_a_signal_in_any_phase(tmp_path, unbroken, rounds, tally):
    cases = [(p, n, g) for p in PHASES for n in SIGNALS for g in (False, True)]
    count = rounds(3, len(cases))
    limit = rounds(600, 2.5)  # daily tests share the machine; the long tests run alone
    chosen = cases if count == len(cases) else random.Random(0).sample(cases, count)
    outcomes = [met(tmp_path / str(i), unbroken, *case, limit) for i, case in enumerate(chosen)]
    tally("F3", "signal × (process, group) × phase: exit code, checkpoint, rerun exact", outcomes)


def test_a_second_signal_ends_at_once(tmp_path, rounds, tally):
    outcomes = []
    for number in SIGNALS[: rounds(1, 4)]:
        cwd = tmp_path / str(int(number))
        cwd.mkdir()
        code = train(cwd, *SMALL, before=partial(interrupt_twice, number))
        left = read(run_of(cwd) / "last.pt")  # the checkpoint after the first epoch
        outcomes.append(code == 128 + number and (left["epoch"], left["step"]) == (1, 0))
    tally("F3", "second signal: ends at once", outcomes)


def test_while_torch_is_imported(tmp_path, rounds, tally):
    outcomes = []
    for number in SIGNALS[: rounds(1, 4)]:
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *SMALL],
            cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stderr=subprocess.PIPE,
        )  # fmt: skip
        while not list(tmp_path.rglob("config.yaml")) and process.poll() is None:
            time.sleep(0.005)
        process.send_signal(number)
        _, err = process.communicate()
        quiet = b"Traceback" not in err
        outcomes.append(process.returncode == 128 + number and quiet and not [*tmp_path.iterdir()])
    tally("F3", "signal while torch is imported: exit code, nothing left", outcomes)


def test_control_a_killed_run_that_is_not_repeated_is_not_the_same(tmp_path, unbroken):
    train(tmp_path, *SMALL, before=partial(interrupt, "step", signal.SIGTERM, False))
    with pytest.raises(FileNotFoundError):
        same(run_of(tmp_path), unbroken)
    assert train(tmp_path, *SMALL, "recipe.lr=0.11") == 0
    assert not same(next(tmp_path.rglob("result.json")).parent, unbroken)


def test_the_codes_are_those_that_are_documented():
    assert [128 + number for number in SIGNALS] == [143, 130, 138, 140]
    assert signal.SIGUSR1 in SIGNALS
