"""AFF and iAFF: Attentional Feature Fusion (Dai et al., 2021), https://arxiv.org/abs/2009.14082.

Reference: YimianDai/open-aff @ 0bcfd8a, model/fusion.py (MXNet): ASKCFuse is AFF, and
ResGlobLocaforGlobLocaCha is iAFF. AFF there is twice the paper's, the plain sum at gates of 0.5;
iAFF is not doubled. Its PyTorch port runs the first global context of iAFF twice, the second never
(its issue 31). The published ImageNet networks fuse so in stages 3 and 4 only, with reduction 16;
the basic blocks of the CIFAR networks have 4.
"""

from torch import Tensor, nn

from attn.mscam import MSCAM


def blend(gate: Tensor, shortcut: Tensor, branch: Tensor, factor: float = 2.0) -> Tensor:
    """factor·(gate⊗branch + (1−gate)⊗shortcut)."""
    return factor * (shortcut + gate * (branch - shortcut))


class AFF(nn.Module):
    """Z = factor·(M(X+Y)⊗Y + (1−M(X+Y))⊗X), X the shortcut, Y the branch, M the gate of MS-CAM.

    `factor=1` is the paper's. Training needs batches above 1 (BN).
    """

    def __init__(self, channels: int, reduction: int = 4, factor: float = 2.0) -> None:
        super().__init__()
        self.mscam = MSCAM(channels, reduction)
        self.factor = factor

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        return blend(self.mscam.gate(shortcut + branch), shortcut, branch, self.factor)


class IAFF(nn.Module):
    """Z = B₂(B₁(X+Y)), with Bᵢ(z) = factor·(Mᵢ(z)⊗Y + (1−Mᵢ(z))⊗X): AFF twice.

    The gate of the second looks at the output of the first, and not at X+Y.
    """

    def __init__(self, channels: int, reduction: int = 4, factor: float = 1.0) -> None:
        super().__init__()
        self.first = MSCAM(channels, reduction)
        self.second = MSCAM(channels, reduction)
        self.factor = factor

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        fused = blend(self.first.gate(shortcut + branch), shortcut, branch, self.factor)
        return blend(self.second.gate(fused), shortcut, branch, self.factor)
