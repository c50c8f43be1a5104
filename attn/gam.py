"""GAM: Global Attention Mechanism (Liu, Shao, Hoffmann, 2021), https://arxiv.org/abs/2112.05561.

The authors have published no code. The table's 149.5 M parameters are those of `reduction=16`. The
code that circulates has 4, biases in front of its BNs, which cancel them, and no sigmoid on the
channel gate, which is `gate="linear"`.
"""

from torch import Tensor, nn

from attn.reduction import hidden_channels

GATES = {"sigmoid": nn.Sigmoid, "linear": nn.Identity}


class GAM(nn.Module):
    """z = x⊙σ(W₂·ReLU(W₁·x)) at every pixel, y = z⊙σ(BN(conv7x7(ReLU(BN(conv7x7(z)))))).

    Both gates have the size of x: nothing is pooled. Each narrows to C/r in the middle.
    """

    def __init__(self, channels: int, reduction: int = 16, gate: str = "sigmoid") -> None:
        super().__init__()
        if gate not in GATES:
            raise ValueError(f"gate={gate}: choose from {', '.join(GATES)}")
        hidden = hidden_channels(channels, reduction)
        self.channel = nn.Sequential(
            nn.Conv2d(channels, hidden, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 1),
            GATES[gate](),
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, hidden, 7, padding=3, bias=False),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            nn.Conv2d(hidden, channels, 7, padding=3, bias=False),
            nn.BatchNorm2d(channels),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x * self.channel(x)
        return x * self.spatial(x)
