import multiprocessing
import os

import pytest
import torch

from engine.datasets.workers import Workers, default_count


def square(task):
    return task, task**2, os.getpid()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_results_come_in_the_order_of_the_tasks(count):
    workers = Workers(square, count, 60)
    for tasks in (range(7), range(20, 3, -3), range(0)):
        results = list(workers.map(tasks))
        assert [result[:2] for result in results] == [(task, task**2) for task in tasks]
        assert (os.getpid() in {result[2] for result in results}) == (count == 0 < len(tasks))


def test_processes_live_on_from_one_map_to_the_next():
    workers = Workers(square, 2, 60)
    first = {process for *_, process in workers.map(range(9))}
    assert {process for *_, process in workers.map(range(9))} == first
    assert len(multiprocessing.active_children()) == 2


def test_nobodys_random_numbers_are_used():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    list(Workers(square, 1, 60).map(range(3)))
    assert torch.rand(1).equal(expected)


def test_the_ranks_of_one_machine_share_its_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(13)))
    assert default_count() == 12
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert default_count() == 2
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0})
    assert default_count() == 1
