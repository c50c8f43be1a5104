"""GE: Gather-Excite (Hu et al., 2018), https://arxiv.org/abs/1810.12348, with global extent.

Reference: hujie-frank/GENet @ ae791f8 (Caffe), models/RN50-{GEPF,GEP,GEPP}.prototxt. A depthwise
convolution as large as the map is one weight per pixel, and computed as such. Every BN of that
network averages with momentum 0.95, which is 0.05 in torch; this file leaves torch's 0.1. GEPP has
a bias in one gather of its sixteen, conv4_2: 1,024 parameters more, which its BN cancels.
"""

import math

import torch
from torch import Tensor, nn

from attn.pixels import check_size
from attn.reduction import hidden_channels

torch.fx.wrap("check_size")  # recorded as a call: a proxy has no size to compare


class Mean(nn.Module):
    """The gather without parameters: (N, C, H, W) -> (N, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))


class Gather(nn.Module):
    """The learnt gather: BN(Σ_hw w_chw·x_chw), (N, C, H, W) -> (N, C)."""

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = tuple(size)
        self.weight = nn.Parameter(torch.empty(1, channels, *size))
        self.bn = nn.BatchNorm1d(channels)
        nn.init.normal_(self.weight, std=math.sqrt(2 / math.prod(size)))

    def forward(self, x: Tensor) -> Tensor:
        check_size(x, self.size, "GE's gather")
        gathered = (x * self.weight.to(x.dtype)).mean((2, 3)) * math.prod(self.size)
        return self.bn(gathered)


class Excite(nn.Sequential):
    """ReLU, then the excitation of SE: C → C/r → C."""

    def __init__(self, channels: int, reduction: int) -> None:
        hidden = hidden_channels(channels, reduction)
        fc1, fc2 = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        for layer in (fc1, fc2):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)
        super().__init__(nn.ReLU(inplace=True), fc1, nn.ReLU(inplace=True), fc2)


VARIANTS = ("theta-minus", "theta", "theta-plus")


class GE(nn.Module):
    """y = x⊙σ(excite(gather(x))).

    `theta-minus` gathers by the mean and excites by the identity: no parameters. `theta` learns the
    gather, at one map size, and `theta-plus` (`reduction` is its alone) the excitation too; the
    network tells `size`, (H, W), to a module that asks for it. Both need batches above 1 (BN).
    """

    def __init__(
        self,
        channels: int,
        variant: str = "theta-plus",
        reduction: int = 16,
        size: tuple[int, int] | None = None,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"variant={variant}: choose from {', '.join(VARIANTS)}")
        if variant != "theta-minus" and size is None:
            raise ValueError(f"variant={variant} has a weight per pixel: say the map's size=(H, W)")
        self.gather = Mean() if variant == "theta-minus" else Gather(channels, size)
        self.excite = Excite(channels, reduction) if variant == "theta-plus" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        gate = self.excite(self.gather(x)).sigmoid()
        return x * gate.to(x.dtype)[:, :, None, None]
