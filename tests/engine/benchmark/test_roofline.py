import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engine.benchmark.roofline import Convolution, convolutions, convolutions_alone, matrix_product
from engine.complexity import cost

CPU = torch.device("cpu")


@pytest.fixture
def net():
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(),
        nn.Conv2d(4, 4, (5, 3), (1, 2), (4, 1), (2, 1), groups=2),
        nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1, bias=False), nn.Flatten(), nn.Linear(4 * 4 * 2, 2),
    )  # fmt: skip


def test_macs_are_those_of_the_outputs_that_torch_makes(net):
    for conv in convolutions(net, 8):
        x, weight = torch.empty(1, *conv.maps), torch.empty(conv.weight)
        y = F.conv2d(x, weight, None, conv.stride, conv.padding, conv.dilation, conv.groups)
        assert conv.macs == y[0, 0].numel() * weight.numel()


def test_equal_ones_are_counted_together_and_all_make_the_networks_macs(net):
    counts = convolutions(net, 8)
    assert sorted(counts.values()) == [1, 1, 2]
    linear = 4 * 4 * 2 * 2
    assert sum(conv.macs * n for conv, n in counts.items()) + linear == cost(net, 8).macs


def test_the_image_alone_needs_no_gradient(net):
    assert [conv.of_image for conv in convolutions(net, 8)] == [True, False, False]


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_each_is_done_forward_and_backward_in_its_format(net, layout, dtype, monkeypatch):
    alone = convolutions_alone(convolutions(net, 8), 2, CPU, dtype, layout)
    seen, wanted = [], []
    conv2d, grad = F.conv2d, torch.autograd.grad
    monkeypatch.setattr(F, "conv2d", lambda *a: seen.append(a[0]) or conv2d(*a))
    monkeypatch.setattr(
        torch.autograd, "grad", lambda y, x, g: wanted.append(len(x)) or grad(y, x, g)
    )
    alone.train()
    assert wanted == [1, 2, 2, 2]
    assert all(x.dtype is dtype and x.is_contiguous(memory_format=layout) for x in seen)
    alone.infer()
    assert len(seen) == 8
    assert alone.batch_size == 2


def test_an_image_of_a_matrix_product_is_one_multiply_accumulate():
    product = matrix_product(CPU, torch.float32, side=8)
    product.train()
    product.infer()
    assert product.batch_size == 8**3


def test_convolutions_are_told_apart_by_all_they_are():
    one = Convolution((3, 8, 8), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1, True)
    assert one.macs == 4 * 3 * 9 * 64
