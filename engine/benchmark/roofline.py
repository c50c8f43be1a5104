"""Lower bounds of a network's time: its convolutions alone, and its arithmetic.

Both are workloads of engine.benchmark.timing, timed in the same rounds as the network itself.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from engine.benchmark.timing import Workload
from engine.complexity import on_meta

SIDE = {"cpu": 1024, "cuda": 8192}  # of the square matrices: large enough for the full rate


@dataclass(frozen=True)
class Convolution:
    """One convolution of `maps` (C, H, W); the other values are those of torch's `conv2d`.

    The gradient of what comes in is not wanted where that is the image itself.
    """

    maps: tuple[int, int, int]
    weight: tuple[int, int, int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    of_image: bool

    @property
    def macs(self) -> int:
        """Multiply-accumulates of the forward pass for one image."""
        spatial = zip(
            self.maps[1:], self.weight[2:], self.stride, self.padding, self.dilation, strict=True
        )
        pixels = math.prod(
            (side + 2 * padding - dilation * (kernel - 1) - 1) // stride + 1
            for side, kernel, stride, padding, dilation in spatial
        )
        return math.prod(self.weight) * pixels


def convolutions(model: nn.Module, image_size: int) -> Counter[Convolution]:
    """The number of times a forward pass does each convolution, counted without memory."""
    shadow, image = on_meta(model, image_size)
    with _Convolutions(image) as found, torch.no_grad():
        shadow(image)
    return found.counts


def convolutions_alone(
    counts: Mapping[Convolution, int],
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype,
    memory_format: torch.memory_format,
) -> Workload:
    """The workload of these convolutions alone: forward and backward passes on random maps."""
    layers = []
    for conv, count in counts.items():
        maps, weight = (
            torch.randn(shape, device=device, dtype=dtype).to(memory_format=memory_format)
            for shape in ((batch_size, *conv.maps), conv.weight)
        )
        maps.requires_grad_(not conv.of_image)
        weight.requires_grad_()
        moves = (None, conv.stride, conv.padding, conv.dilation, conv.groups)
        layers += [(maps, weight, moves, torch.ones_like(F.conv2d(maps, weight, *moves)))] * count

    def train() -> None:
        for maps, weight, moves, slope in layers:
            inputs = [tensor for tensor in (maps, weight) if tensor.requires_grad]
            torch.autograd.grad(F.conv2d(maps, weight, *moves), inputs, slope)

    @torch.inference_mode()
    def infer() -> None:
        for maps, weight, moves, _ in layers:
            F.conv2d(maps, weight, *moves)

    return Workload(train, infer, batch_size, device)


def matrix_product(device: torch.device, dtype: torch.dtype, side: int | None = None) -> Workload:
    """Products of two square matrices: one in inference, three in training.

    An "image" of it is one multiply-accumulate: times the MACs of a network, the time for it is
    what the arithmetic of that network takes at this rate.
    """
    side = side or SIDE.get(device.type, SIDE["cuda"])
    a, b = (torch.randn(side, side, device=device, dtype=dtype) for _ in range(2))

    def train() -> None:
        for _ in range(3):
            a @ b

    def infer() -> None:
        a @ b

    return Workload(train, infer, side**3, device)


class _Convolutions(TorchDispatchMode):
    """Count the convolutions of a forward pass."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        self.image = image
        self.counts: Counter[Convolution] = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default and args[0].ndim == 4:
            maps, weight, _, stride, padding, dilation, _, _, groups = args
            self.counts[
                Convolution(
                    tuple(maps.shape[1:]),
                    tuple(weight.shape),
                    tuple(stride),
                    tuple(padding),
                    tuple(dilation),
                    groups,
                    maps is self.image,
                )
            ] += 1
        return func(*args, **(kwargs or {}))
