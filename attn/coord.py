"""CA: Coordinate Attention (Hou, Zhou, Feng, 2021), https://arxiv.org/abs/2103.02907.

Reference: houqb/CoordAttention @ 7619bea, coordatt.py and mbv2_ca.py. In MobileNetV2 it follows the
depthwise convolution of every block that expands.
"""

import torch
from torch import Tensor, nn


class CoordAttention(nn.Module):
    """y = x⊙σ(W_h·f_h)⊙σ(W_w·f_w), one gate along each axis, from f = hswish(BN(W·[x̄_h; x̄_w])).

    x̄_h is the mean of each row, (N, C, H, 1), x̄_w of each column; W: C → max(8, C/r) sees both.
    """

    def __init__(self, channels: int, reduction: int = 32) -> None:
        super().__init__()
        if reduction < 1:
            raise ValueError(f"reduction must be positive, got {reduction}")
        hidden = max(8, channels // reduction)
        self.conv = _conv1x1(channels, hidden)
        self.bn = nn.BatchNorm2d(hidden)
        self.act = nn.Hardswish(inplace=True)
        self.conv_h = _conv1x1(hidden, channels)
        self.conv_w = _conv1x1(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        rows = x.mean(3, keepdim=True)
        columns = x.mean(2, keepdim=True).transpose(2, 3)
        f = self.act(self.bn(self.conv(torch.cat([rows, columns], 2))))
        f_h, f_w = f.split(x.shape[2:], 2)
        return x * self.conv_h(f_h).sigmoid() * self.conv_w(f_w.transpose(2, 3)).sigmoid()


def _conv1x1(in_channels: int, out_channels: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, 1)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out")
    nn.init.zeros_(conv.bias)
    return conv
