"""BAM: Bottleneck Attention Module (Park et al., 2018), https://arxiv.org/abs/1807.06514.

Reference: Jongchan/attention-module @ 459efad, MODELS/bam.py, at whose HEAD the class cannot be
built (a NameError). The paper adds the two branches before the sigmoid, the code multiplies them;
the released weights are those of the product. Nor does the code normalise what a branch ends with.
"""

import torch
from torch import Tensor, nn

from attn.reduction import hidden_channels

COMBINE = {"mul": torch.mul, "add": torch.add}


class ChannelBranch(nn.Module):
    """M_c = W₂·ReLU(BN(W₁·GAP(x))) of shape (N, C, 1, 1). Training needs batches above 1 (BN)."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.bn = nn.BatchNorm1d(hidden)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Linear(hidden, channels)
        for layer in (self.fc1, self.fc2):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(self.relu(self.bn(self.fc1(x.mean((2, 3))))))[:, :, None, None]


class SpatialBranch(nn.Sequential):
    """M_s of shape (N, 1, H, W): 1x1 to C/r, two dilated 3x3, 1x1 to one map; BN-ReLU between."""

    def __init__(self, channels: int, hidden: int, dilation: int) -> None:
        dilated = {"kernel_size": 3, "padding": dilation, "dilation": dilation}
        super().__init__(
            *_conv_bn_relu(channels, hidden, kernel_size=1),
            *_conv_bn_relu(hidden, hidden, **dilated),
            *_conv_bn_relu(hidden, hidden, **dilated),
            _conv(hidden, 1, kernel_size=1),
        )


class BAM(nn.Module):
    """y = x⊙(1 + σ(M_c(x)×M_s(x))), placed between stages; `combine="add"` is the paper's Eq. 2."""

    def __init__(
        self, channels: int, reduction: int = 16, dilation: int = 4, combine: str = "mul"
    ) -> None:
        super().__init__()
        if combine not in COMBINE:
            raise ValueError(f"combine={combine}: choose from {', '.join(COMBINE)}")
        if dilation < 1:
            raise ValueError(f"dilation must be positive, got {dilation}")
        hidden = hidden_channels(channels, reduction)
        self.channel = ChannelBranch(channels, hidden)
        self.spatial = SpatialBranch(channels, hidden, dilation)
        self.combine = COMBINE[combine]

    def forward(self, x: Tensor) -> Tensor:
        return x * (1 + self.combine(self.channel(x), self.spatial(x)).sigmoid())


def _conv(in_channels: int, out_channels: int, **options: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, **options)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out")
    nn.init.zeros_(conv.bias)
    return conv


def _conv_bn_relu(in_channels: int, out_channels: int, **options: int) -> list[nn.Module]:
    conv = _conv(in_channels, out_channels, **options)
    return [conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
