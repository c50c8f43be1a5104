"""Tools for the tests of all backbones: probes, counts, captured tensors."""

from collections import Counter

import pytest
import torch
from torch import nn

BLOCK_SITES = ("prenorm", "inner", "branch", "identity", "post")


class Probe(nn.Module):
    """Attention that changes the map and remembers channels and size of each map."""

    def __init__(self, channels: int, stage: int | None = None, size: tuple | None = None) -> None:
        super().__init__()
        self.told = (channels, stage, size)
        self.met = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.met.append((x.shape[1], tuple(x.shape[2:])))
        return 0.5 * x + 0.25


@pytest.fixture
def probe():
    return Probe


@pytest.fixture
def calls():
    """How often each site's probe is called when one image goes through the net."""

    def count(net: nn.Module, image_size: int) -> Counter:
        probes = {name: m for name, m in net.named_modules() if isinstance(m, Probe)}
        net.eval()(torch.randn(1, 3, image_size, image_size))
        return Counter(_site(name) for name, m in probes.items() for _ in m.met)

    return count


def _site(name: str) -> str:
    """The site of a module: sites of blocks and `head` are attributes, all others are `stage`."""
    last = name.split(".")[-1]
    return last if last in (*BLOCK_SITES, "head") else "stage"


@pytest.fixture
def record():
    """Copies of the inputs and the outputs of every module of `net`, by name."""

    def recorded(net: nn.Module, x: torch.Tensor) -> tuple[dict, dict]:
        inputs, outputs = {}, {}

        def before(name):
            return lambda _, args: inputs.__setitem__(name, [a.clone() for a in args])

        def after(name):
            return lambda _, args, output: outputs.__setitem__(name, output.clone())

        for name, module in net.named_modules():
            module.register_forward_pre_hook(before(name))
            module.register_forward_hook(after(name))
        net(x)
        return inputs, outputs

    return recorded


@pytest.fixture
def parameters():
    def count(net: nn.Module) -> int:
        return sum(p.numel() for p in net.parameters())

    return count


@pytest.fixture
def counting():
    """Wrap a slot's factory: count the modules that it builds and their calls."""

    def wrap(build) -> tuple:
        seen = Counter()

        def factory(*args: int) -> nn.Module:
            module = build(*args)
            seen["built"] += 1
            module.register_forward_hook(lambda *_: seen.update(called=1))
            return module

        return factory, seen

    return wrap
