import pytest
import torch
from torch import nn

from engine.benchmark.memory import peak_memory
from engine.benchmark.timing import Workload

CPU = torch.device("cpu")


def of_step(run, batch):
    workload = Workload.of(run, image_size=8, classes=3, batch_size=batch)
    return peak_memory(workload.train, workload.device)


@pytest.mark.parametrize("batch", [2, 7])
def test_a_convolution_and_a_relu_by_hand(batch):
    images = torch.randn(batch, 3, 8, 8)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.ReLU())
    optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)

    def step():
        loss = net(images).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    weights, maps = 4 * 3 * 9, batch * 4 * 8 * 8
    # the peak is in the ReLU: its input and output, weights, old gradients, momentum
    assert peak_memory(step, CPU) == 4 * (3 * weights + images.numel() + 2 * maps)


def test_what_is_freed_is_counted_no_more_and_what_is_shared_once():
    x = torch.ones(1000)

    def step():
        y = x
        for _ in range(5):
            y = y.view(10, 100).t().reshape(1000) + 1  # the reshaped copy is freed after the sum

    # always x; at the peak also a sum, the next copy, and the next sum
    assert peak_memory(step, CPU) == 4 * 1000 * 4


def test_what_the_backward_pass_needs_is_kept():
    x = torch.ones(1000, requires_grad=True)

    def step(depth):
        y = x
        for _ in range(depth):
            y = y.exp()  # the backward pass of exp needs its output

    peaks = [peak_memory(lambda depth=depth: step(depth), CPU) for depth in (3, 4, 8)]
    assert peaks == [4 * 1000 * (1 + depth) for depth in (3, 4, 8)]


def test_memory_grows_in_proportion_to_the_batch_and_is_the_same_twice(new_run):
    few, more, most = (of_step(new_run(), batch) for batch in (8, 16, 32))
    assert most - more == 2 * (more - few) > 0
    assert of_step(new_run(), 16) == more
