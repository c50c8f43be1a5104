"""The step in a CUDA graph, run without CUDA, gives the numbers of the plain step."""

from contextlib import nullcontext

import pytest
import torch

from engine.training import graph
from engine.training.graph import EvaluationGraph, StepGraph, why_no_graph
from engine.training.loop import evaluate, train_epoch
from engine.transforms.normalize import Normalize

NORMALIZE = Normalize("cifar100")


class Replayed:
    """Stands for `_Captured`: an input at a fixed address, but each call computes anew."""

    def __init__(self, body, x):
        self.body, self.input = body, x.clone()

    def __call__(self, x):
        self.input.copy_(x)
        return self.body(self.input)


@pytest.fixture
def _without_cuda(monkeypatch):
    monkeypatch.setattr(graph, "_Captured", Replayed)
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: nullcontext())


def rows(run, images):
    found = []
    for _ in range(2):
        found.append(train_epoch(run, images, NORMALIZE, lambda: None))
        found.append(evaluate(run, images, NORMALIZE, lambda: None))
        run.next_epoch()
    return found


@pytest.mark.usefixtures("_without_cuda")
@pytest.mark.parametrize("seed", [0, 1])
def test_two_epochs_by_graph_are_two_epochs_step_by_step(new_run, images, seed):
    options = {"epochs": 2, "ema": 0.9, "label_smoothing": 0.1, "clip_norm": 0.5}
    plain, replayed = new_run(seed, **options), new_run(seed, **options)
    replayed.graph = StepGraph(replayed, images, NORMALIZE)
    replayed.eval_graph = EvaluationGraph(replayed, NORMALIZE)
    expected = rows(plain, images)
    for found, row in zip(rows(replayed, images), expected, strict=True):
        assert found == pytest.approx(row, rel=1e-5)
    for part in ("model", "eval_model"):
        state, other = (getattr(run, part).state_dict() for run in (replayed, plain))
        for name, tensor in other.items():
            torch.testing.assert_close(state[name], tensor)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"mixup": 0.2}, "recipe.mixup and recipe.cutmix draw on the host"),
        ({"cutmix": 1.0}, "recipe.mixup and recipe.cutmix draw on the host"),
        ({"randaugment": 3}, "recipe.randaugment was not tried in a graph"),
        ({"accumulate": 2}, "recipe.accumulate splits the batch"),
        ({}, "SGD has no fused update"),  # this run is on a CPU
    ],
)
def test_what_a_graph_would_leave_out_keeps_a_run_from_one(new_run, images, options, reason):
    assert why_no_graph(new_run(**options), images) == reason
