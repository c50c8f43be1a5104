"""One of several ranks dies, gets a signal or hangs: all ranks end soon; a rerun is exact."""

import os
import signal
import time
from functools import partial

import pytest

from engine.storage.checkpoint import read
from tests.faults.children import SMALL, run_of, said, same, tidy, train, wrap
from tests.ranked import start_training
from tests.ranked import train as train_ranks

pytestmark = pytest.mark.fault("F11")

LIMIT = 60  # seconds
STEP = ("engine.training.loop", "train_step", 8)  # in the second epoch


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """`undisturbed(world)`: an uninterrupted run SMALL on `world` ranks."""
    made = {}

    def get(world):
        if world not in made:
            cwd = tmp_path_factory.mktemp(f"world{world}")
            assert train_ranks(world, cwd, *SMALL) == [0] * world
            made[world] = run_of(cwd)
        return made[world]

    return get


def to_itself(number):
    with open(f"hit{os.environ['RANK']}", "w") as file:
        file.write(f"{time.monotonic()} {os.getpid()}")
    os.kill(os.getpid(), number)


def hit(number):
    wrap(*STEP, partial(to_itself, number))


def ended(world, cwd, rank, number):
    """The exit codes if `rank` gets this signal, and the seconds until all other ranks ended."""
    cwd.mkdir()
    processes = start_training(world, cwd, *SMALL, harm=(rank, partial(hit, number)))
    others = [process for i, process in enumerate(processes) if i != rank]
    for process in others:
        process.join()
    since, pid = (cwd / f"hit{rank}").read_text().split()
    seconds = time.monotonic() - float(since)
    if number == signal.SIGSTOP:
        os.kill(int(pid), signal.SIGKILL)
    processes[rank].join()
    return [process.exitcode for process in processes], seconds


def met(world, cwd, undisturbed, rank, number):
    codes, seconds = ended(world, cwd, rank, number)
    at = read(run_of(cwd) / "last.pt")
    if number == signal.SIGTERM:
        right = codes == [143] * world and (at["epoch"], at["step"]) == (1, 3) and tidy(run_of(cwd))
        told = said(cwd).count("SIGTERM: saved at step") == 1
        told = told and said(cwd).count("SIGTERM") == 1 + (rank == 0)  # rank 0 also says: saving
    else:
        codes.pop(rank)
        right = set(codes) == {3} and (at["epoch"], at["step"]) == (1, 0)
        told = said(cwd).count("the same command resumes it") == 1
        told = told and (f"rank {rank} gives" in said(cwd) or rank == 0)
    again = train_ranks(world, cwd, *SMALL)
    exact = again == [0] * world and same(run_of(cwd), undisturbed(world))
    return right and told and exact and seconds < LIMIT and "Traceback" not in said(cwd)


def test_one_rank_dies_is_signaled_or_hangs(tmp_path, undisturbed, rounds, tally):
    numbers = (signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP)
    cases = [(world, world - 1, number) for world in (2, 3, 4) for number in numbers]
    outcomes = [
        met(world, tmp_path / str(i), undisturbed, rank, number)
        for i, (world, rank, number) in enumerate(cases[: rounds(2, len(cases))])
    ]
    tally("F11", "a rank of 2 to 4 dies, has SIGTERM, hangs: all end, rerun exact", outcomes)


def test_the_first_rank_dies(tmp_path, undisturbed, rounds, tally):
    numbers = (signal.SIGTERM, signal.SIGKILL)[: rounds(1, 2)]
    outcomes = [met(2, tmp_path / str(int(n)), undisturbed, 0, n) for n in numbers]
    tally("F11", "rank 0 dies, has SIGTERM: all end, rerun exact", outcomes)


def test_one_that_is_slow_is_waited_for(tmp_path, undisturbed, rounds, tally):
    seconds = rounds(2, 30)
    harm = (1, partial(wrap, *STEP, partial(time.sleep, seconds)))
    codes = train_ranks(2, tmp_path, *SMALL, harm=harm)
    outcome = codes == [0, 0] and same(run_of(tmp_path), undisturbed(2))
    tally("F11", "a rank is slow, but lives: waited for, the run exact", [outcome])


def test_from_two_ranks_to_one_and_back(tmp_path, undisturbed, tally):
    stop = partial(hit, signal.SIGTERM)
    codes = [train_ranks(2, tmp_path, *SMALL, harm=(1, stop))]
    before = read(run_of(tmp_path) / "last.pt")
    codes.append([train(tmp_path, *SMALL, before=interrupt_soon)])
    after = read(run_of(tmp_path) / "last.pt")
    codes.append(train_ranks(2, tmp_path, *SMALL))
    rows = [(folder / "metrics.jsonl").read_text() for folder in (run_of(tmp_path), undisturbed(2))]
    first = [text.splitlines()[0] for text in rows]
    steps = [(state["epoch"], state["step"]) for state in (before, after)]
    right = codes == [[143, 143], [143], [0, 0]] and steps == [(1, 3), (1, 5)]
    tally("F11", "from 2 ranks to 1 and back", [right and first[0] == first[1]])


def interrupt_soon():
    wrap("engine.training.loop", "train_step", 2, partial(os.kill, os.getpid(), signal.SIGTERM))


def test_control_one_rank_is_another_run(tmp_path, undisturbed, unbroken):
    """Batch norm sees other batches, so the exact comparisons above can fail."""
    assert not same(undisturbed(2), unbroken)
