"""The convolution of a few planes against the library's."""

import pytest
import torch

from attn.fused.kernels import compiled
from attn.fused.plane_conv import Conv, conv, slide, slide_back

SHAPES = [(3, 2, 5, 9), (2, 1, 1, 4), (1, 2, 8, 3)]  # also planes smaller than the kernel


def planes(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.double).requires_grad_()


def by_passes(x, weight):
    return Conv.apply(slide, slide_back, x, weight)


def outcome(convolve, x, weight):
    out = convolve(x, weight)
    gradients = torch.autograd.grad(
        out, (x, weight), planes(*out.shape, seed=2).detach().to(out.dtype)
    )
    return [out.detach(), *gradients]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("outputs", [1, 2])
def test_is_the_librarys(shape, k, outputs):
    x, weight = planes(*shape), planes(outputs, shape[1], k, k, seed=1)
    torch.testing.assert_close(outcome(by_passes, x, weight), outcome(conv, x, weight))


def test_turned_planes_and_kernels_are_taken_as_they_are():
    x, weight = planes(3, 2, 5, 9), planes(1, 2, 7, 7, seed=1)
    ours = outcome(lambda x, w: by_passes(x.mT, w.mT).mT, x, weight)
    torch.testing.assert_close(ours, outcome(conv, x, weight))


@pytest.mark.parametrize("shape", SHAPES[:2])
def test_compiled_is_the_same_to_rounding_and_to_the_bit_the_second_time(shape):
    x, weight = planes(*shape).float(), planes(1, shape[1], 7, 7, seed=1).float()
    first, second = (outcome(compiled().conv, x, weight) for _ in range(2))
    torch.testing.assert_close(first, outcome(conv, x, weight), rtol=1e-4, atol=1e-5)
    assert all(map(torch.equal, first, second))


def test_cannot_be_differentiated_twice():
    x, weight = planes(1, 2, 3, 3), planes(1, 2, 3, 3, seed=1)
    (grad,) = torch.autograd.grad(by_passes(x, weight).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        grad.sum().backward()
