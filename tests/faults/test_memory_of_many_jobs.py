"""Many jobs in one process: memory stays steady and no file stays open."""

import os
from functools import partial

import pytest
import torch

import train as train_script
from tests.faults.children import SMALL, train

pytestmark = pytest.mark.fault("F13")

ONE_EPOCH = (*(option for option in SMALL if "epochs" not in option), "recipe.epochs=1")


def watch_memory(leak):
    """Write resident bytes and open files after each job; leak `leak` bytes per job."""
    plain, kept = train_script.main, []

    def main(cfg):
        top1 = plain(cfg)
        kept.append(torch.ones(leak, dtype=torch.uint8))
        with open("/proc/self/statm") as statm, open("usage", "a") as file:
            pages = int(statm.read().split()[1])
            file.write(f"{pages * os.sysconf('SC_PAGE_SIZE')} {len(os.listdir('/proc/self/fd'))}\n")
        return top1

    train_script.main = main


def steady(cwd, jobs, leak=0):
    """Whether memory grows by less than 5 % after the first jobs, and no file stays open.

    The first jobs are a tenth of `jobs`, or five.
    """
    cwd.mkdir()
    assert (
        train(cwd, "-m", *ONE_EPOCH, f"seed=range({jobs})", before=partial(watch_memory, leak)) == 0
    )
    usage = [tuple(map(int, line.split())) for line in (cwd / "usage").read_text().splitlines()]
    assert len(usage) == jobs
    memory, files = zip(*usage[max(4, jobs // 10) - 1 :], strict=True)
    print(f"resident bytes {memory[0]:,} -> {memory[-1]:,}, open files {files[0]} -> {files[-1]}")
    return memory[-1] < 1.05 * memory[0] and files[-1] <= files[0]


def test_many_jobs_in_one_process(tmp_path, rounds, tally):
    outcomes = [steady(tmp_path / "a", rounds(10, 200))]
    tally("F13", "200 jobs in one process: memory grows < 5 %, open files constant", outcomes)


def test_control_a_leak_is_seen(tmp_path):
    assert not steady(tmp_path / "a", 6, leak=2**25)
