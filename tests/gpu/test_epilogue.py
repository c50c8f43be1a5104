"""On a GPU, the fused epilogue gives the numbers of the modules, run by Python or compiled."""

import copy
from functools import partial

import pytest
import torch
from torch import nn

from attn import CBAM, ECA, NAM, SE, SRM, FusedEpilogue, ShuffleAttention, Triplet
from models.slots import Add, composed

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]  # of the compiler
GATES = {
    "nam": NAM,
    "se": SE,
    "eca": ECA,
    "srm": SRM,
    "shuffle": partial(ShuffleAttention, groups=4),
    "cbam": partial(CBAM, reduction=4),
    "triplet": Triplet,
}
EAGER = FusedEpilogue(devices=("cuda",), elements=0, compiled=False)
COMPILED = FusedEpilogue(devices=("cuda",), elements=0)


def traced(*arguments):
    """The epilogue as torch.compile traces it in a network."""
    torch.compiler.reset()
    options = FusedEpilogue().inductor_options(arguments[2], "cuda")
    return torch.compile(FusedEpilogue().__call__, dynamic=False, options=options)(*arguments)


def trained(epilogue, gate):
    """Output, gradients and running statistics after one step, in float64."""
    torch.manual_seed(0)
    norm, attention = (m.double().cuda().train() for m in (nn.BatchNorm2d(64), gate(64)))
    y, shortcut, slope = (
        torch.randn(4, 64, 8, 8, dtype=torch.double, device="cuda").to(
            memory_format=torch.channels_last
        )
        for _ in range(3)
    )
    maps = [t.requires_grad_() for t in (y, shortcut)]
    out = epilogue(maps[0], norm, attention, Add(64), maps[1], nn.ReLU())
    out.backward(slope)
    learned = [*maps, *norm.parameters(), *attention.parameters()]
    buffers = copy.deepcopy([*norm.buffers(), *attention.buffers()])
    return [out.detach(), *(t.grad for t in learned if t.grad is not None), *buffers]


@pytest.mark.parametrize("gate", GATES.values(), ids=GATES)
@pytest.mark.parametrize("epilogue", [EAGER, COMPILED, traced], ids=["eager", "compiled", "traced"])
def test_output_gradients_and_statistics_are_those_of_the_modules(epilogue, gate):
    theirs = trained(composed, gate)
    torch.testing.assert_close(trained(epilogue, gate), theirs, rtol=1e-9, atol=1e-9)
