"""MS-CAM: the gate inside Attentional Feature Fusion (Dai et al., 2021),
https://arxiv.org/abs/2009.14082, by itself.

Reference: YimianDai/open-aff @ 0bcfd8a, model/fusion.py (MXNet) and its port, aff_pytorch.
Reduction is 16 in the authors' bottlenecks, 4 in their basic blocks.
"""

from torch import Tensor, nn

from attn.reduction import hidden_channels


class Context(nn.Sequential):
    """BN(W₂·ReLU(BN(W₁·z))), W₁: C → C/r and W₂: C/r → C, 1x1 convolutions with biases."""

    def __init__(self, channels: int, reduction: int) -> None:
        hidden = hidden_channels(channels, reduction)
        super().__init__(
            conv1x1(channels, hidden),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            conv1x1(hidden, channels),
            nn.BatchNorm2d(channels),
        )


class MSCAM(nn.Module):
    """y = x⊙M(x), M(x) = σ(L(x) + G(GAP(x))): the context of a pixel, and of the whole map.

    Training needs batches above 1 (BN).
    """

    def __init__(self, channels: int, reduction: int = 16) -> None:
        super().__init__()
        self.local_context = Context(channels, reduction)
        self.global_context = Context(channels, reduction)

    def gate(self, x: Tensor) -> Tensor:
        """M(x), (N, C, H, W)."""
        context = self.global_context(x.mean((2, 3), keepdim=True))
        return (self.local_context(x) + context).sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(x)


def conv1x1(in_channels: int, out_channels: int) -> nn.Conv2d:
    conv = nn.Conv2d(in_channels, out_channels, 1)
    nn.init.xavier_normal_(conv.weight, nn.init.calculate_gain("leaky_relu", 0.25))
    nn.init.zeros_(conv.bias)
    return conv
