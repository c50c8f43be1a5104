import copy

import pytest
import torch
from torch import nn

from engine.benchmark.modules import modules_alone, shapes


def test_modules_of_a_kind_are_found_with_the_maps_they_get(new_run):
    run = new_run()
    assert shapes(run.model, nn.BatchNorm2d, 8) == {"1": (8, 4, 4)}
    assert shapes(run.model, (nn.BatchNorm2d, nn.Linear), 8) == {"1": (8, 4, 4), "6": (32,)}
    assert next(run.model.parameters()).device.type == "cpu"


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_they_run_on_such_maps_and_learn_nothing(new_run, layout):
    run, seen = new_run(), []
    alone = modules_alone(run, shapes(run.model, nn.BatchNorm2d, 8), 5, layout)
    run.model[1].register_forward_hook(lambda bn, args, y: seen.append((args[0], bn.training)))
    before = copy.deepcopy(list(run.model.parameters()))
    alone.infer()
    alone.train()
    alone.infer()
    assert [training for _, training in seen] == [False, True, False]
    assert all(x.shape == (5, 8, 4, 4) for x, _ in seen)
    assert all(x.is_contiguous(memory_format=layout) for x, _ in seen)
    assert all(p.grad is None for p in run.model.parameters())
    assert all(map(torch.equal, before, run.model.parameters()))
