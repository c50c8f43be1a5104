"""A killed sweep, repeated, trains only the missing runs."""

import os
import signal
from functools import partial

import pytest

import train as train_script
from tests.faults.children import CLOCK, SMALL, result_of, said, train, wrap

pytestmark = pytest.mark.fault("F12")

ONE_EPOCH = (*(option for option in SMALL if "epochs" not in option), "recipe.epochs=1")
TWELVE = ("-m", *ONE_EPOCH, "attn=none,half,se,nam", "seed=0,1,2")
TWO = ("-m", *ONE_EPOCH, "attn=half,nam")
STEPS = 5  # per job


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def kill_after(jobs):
    """Kill after so many jobs; if the number is odd, after two steps of the next job."""
    if jobs % 2:
        wrap("engine.training.loop", "train_step", jobs * STEPS + 2, die)
    plain, done = train_script.main, [0]

    def main(cfg):
        top1 = plain(cfg)
        done[0] += 1
        if done[0] == jobs and not jobs % 2:
            die()
        return top1

    train_script.main = main


def results(cwd):
    return {path.parent.relative_to(cwd): path for path in cwd.rglob("result.json")}


def measured(cwd):
    return {run: result_of(path.parent) for run, path in results(cwd).items()}


def test_a_sweep_killed_after_any_job(tmp_path, rounds, tally):
    sweep = TWELVE if rounds(0, 1) else TWO
    jobs = rounds(2, 12)
    (tmp_path / "unbroken").mkdir()
    assert train(tmp_path / "unbroken", *sweep) == 0
    expected = measured(tmp_path / "unbroken")
    assert len(expected) == jobs
    outcomes = []
    for k in rounds([1], list(range(1, jobs + 1))):
        cwd = tmp_path / str(k)
        cwd.mkdir()
        killed = train(cwd, *sweep, before=partial(kill_after, k))
        times = {run: path.stat().st_mtime_ns for run, path in results(cwd).items()}
        again = train(cwd, *sweep)
        untouched = all(results(cwd)[run].stat().st_mtime_ns == t for run, t in times.items())
        skipped = (cwd / "out").read_text().count("already finished: ")
        over = k == jobs and k % 2  # no job is left, so nothing is killed
        outcomes.append(
            (killed, again) == (0 if over else -signal.SIGKILL, 0)
            and len(times) == skipped == k and untouched and measured(cwd) == expected
        )  # fmt: skip
    tally("F12", "sweep of 12 killed after job k: only the missing ones are trained", outcomes)


def test_a_job_that_always_fails(tmp_path, tally):
    reductions = ("-m", *ONE_EPOCH, "attn=se", "attn.reduction=99,4")
    outcomes = []
    for finished in (0, 1):
        code = train(tmp_path, *reductions)
        skipped = (tmp_path / "out").read_text().count("already finished: ")
        told = said(tmp_path).count("reduction=99 does not fit") == finished + 1
        outcomes.append((code, skipped) == (2, finished) and told)
    outcomes.append(len(results(tmp_path)) == 1)
    tally("F12", "one job always failing: told, exit code 2, the others done", outcomes)


def test_control_results_of_other_seeds_differ(tmp_path):
    assert train(tmp_path, "-m", *ONE_EPOCH, "seed=0,1") == 0
    one, other = measured(tmp_path).values()
    assert one.pop("seed") != other.pop("seed")
    assert {k: v for k, v in one.items() if k not in CLOCK} != other
