"""The memory of a GPU: steps leave nothing behind, and the measured peak holds what is counted."""

import pytest
import torch

from engine.benchmark.memory import peak_memory
from engine.benchmark.timing import Workload

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]
CUDA = torch.device("cuda")


@pytest.mark.parametrize("graph", [False, True])
def test_later_epochs_take_no_more_memory(new_run, train, graph):
    run, taken = new_run("nam", graph=graph, epochs=4), []
    for epochs in (2, 4):
        train(run, steps=11 * epochs - 11 * run.epoch)
        torch.cuda.synchronize()
        taken.append(torch.cuda.memory_allocated())
    assert taken[1] <= taken[0] + 2**16  # the losses of an epoch


def test_the_peak_of_a_step_holds_weights_gradients_and_momentum(new_run):
    run = new_run()
    workload = Workload.of(run, image_size=32, classes=100, batch_size=16)
    weights = sum(p.nbytes for p in run.model.parameters())
    assert peak_memory(workload.train, CUDA) > 3 * weights


def test_a_larger_batch_has_a_higher_peak(new_run):
    peaks = []
    for batch in (16, 64):
        workload = Workload.of(new_run(), image_size=32, classes=100, batch_size=batch)
        peaks.append(peak_memory(workload.train, CUDA))
    assert peaks[1] > 2 * peaks[0]
