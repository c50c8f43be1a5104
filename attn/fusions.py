"""The fusions AFF was compared with: Attentional Feature Fusion (Dai et al., 2021), Sec. 4,
https://arxiv.org/abs/2009.14082.

Reference: YimianDai/open-aff @ 806562e, model/fusion.py (MXNet), whose names these are. Capacities
differ: the gates of one convolution, C → C, are far larger than the bottlenecks of AFF. Where
there is a bottleneck its reduction is 4, and 16 in the authors' bottleneck blocks.

X is the shortcut, Y the residual branch, `forward(X, Y)`. Training needs batches above 1 (BN).
"""

import torch
from torch import Tensor, nn

from attn.aff import blend
from attn.mscam import Context, conv1x1
from attn.reduction import hidden_channels


class Pointwise(nn.Sequential):
    """BN(W·z), W: C → C a 1x1 convolution with bias: a context without a bottleneck."""

    def __init__(self, channels: int) -> None:
        super().__init__(conv1x1(channels, channels), nn.BatchNorm2d(channels))


class Pooled(nn.Module):
    """context(GAP(z)), (N, C, 1, 1)."""

    def __init__(self, context: nn.Module) -> None:
        super().__init__()
        self.context = context

    def forward(self, z: Tensor) -> Tensor:
        return self.context(z.mean((2, 3), keepdim=True))


class Gate(nn.Module):
    """σ(Σ contexts(z))."""

    def __init__(self, *contexts: nn.Module) -> None:
        super().__init__()
        self.contexts = nn.ModuleList(contexts)

    def forward(self, z: Tensor) -> Tensor:
        return sum(context(z) for context in self.contexts).sigmoid()


def both(channels: int) -> Gate:
    """A(z) = σ(BN(W₁·z) + BN(W₂·GAP(z)))."""
    return Gate(Pointwise(channels), Pooled(Pointwise(channels)))


class ConcatFuse(nn.Module):
    """W·BN([Y; X]), W: 2C → C with bias."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.bn = nn.BatchNorm2d(2 * channels)
        self.conv = conv1x1(2 * channels, channels)

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        return self.conv(self.bn(torch.cat([branch, shortcut], 1)))


class SEFuse(nn.Module):
    """X + σ(BN(W₂·ReLU(BN(W₁·GAP(Y)))))⊗Y."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        self.gate = Gate(Pooled(Context(channels, reduction)))

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        return shortcut + self.gate(branch) * branch


class GAUFuse(nn.Module):
    """σ(BN(W·GAP(Y)))⊗X + Y."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = Gate(Pooled(Pointwise(channels)))

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        return self.gate(branch) * shortcut + branch


class SKFuse(nn.Module):
    """2·a₁⊗Y + 2·a₂⊗X, a = softmax over the two of BN(W₂·ReLU(BN(W₁·GAP(X+Y)))), W₂: C/r → 2C."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        hidden = hidden_channels(channels, reduction)
        self.logits = nn.Sequential(
            conv1x1(channels, hidden),
            nn.BatchNorm2d(hidden),
            nn.ReLU(inplace=True),
            conv1x1(hidden, 2 * channels),
            nn.BatchNorm2d(2 * channels),
        )

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        logits = self.logits((shortcut + branch).mean((2, 3), keepdim=True))
        a, b = logits.unflatten(1, (2, -1)).softmax(1).unbind(1)
        return 2 * (a * branch + b * shortcut)


class AYforXplusY(nn.Module):
    """A(Y)⊗X + Y."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = both(channels)

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        return self.gate(branch) * shortcut + branch


class XplusAYforY(nn.Module):
    """X + A(Y)⊗Y."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = both(channels)

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        return shortcut + self.gate(branch) * branch


class AXYforXplusY(nn.Module):
    """A(X+Y)⊗X + Y."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = both(channels)

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        return self.gate(shortcut + branch) * shortcut + branch


class AXYforXY(nn.Module):
    """A(X+Y)⊗(X+Y)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = both(channels)

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        total = shortcut + branch
        return self.gate(total) * total


class ResGlobLocaCha(nn.Module):
    """2·A(X+Y)⊗Y + 2·(1−A(X+Y))⊗X: AFF without its bottlenecks."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = both(channels)

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        return blend(self.gate(shortcut + branch), shortcut, branch)


class ResGlobCha(nn.Module):
    """2·A⊗Y + 2·(1−A)⊗X, A = σ(BN(W₂·ReLU(BN(W₁·GAP(X+Y))))), W₁ and W₂: C → C."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = Gate(Pooled(Context(channels, reduction=1)))

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        return blend(self.gate(shortcut + branch), shortcut, branch)


class ResLocaCha(nn.Module):
    """2·A⊗Y + 2·(1−A)⊗X, A = σ(BN(W₂·ReLU(BN(W₁·(X+Y))))), W₁ and W₂: C → C."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = Gate(Context(channels, reduction=1))

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        return blend(self.gate(shortcut + branch), shortcut, branch)


class ResGlobGlobCha(nn.Module):
    """AFF with two contexts of the whole map: σ(G₁ + G₂), Gᵢ = BN(W₂·ReLU(BN(W₁·GAP(X+Y))))."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        self.gate = Gate(*(Pooled(Context(channels, reduction)) for _ in range(2)))

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        return blend(self.gate(shortcut + branch), shortcut, branch)


class ResLocaLocaCha(nn.Module):
    """AFF with two contexts of a pixel: σ(L₁ + L₂), Lᵢ = BN(W₂·ReLU(BN(W₁·(X+Y))))."""

    def __init__(self, channels: int, reduction: int = 4) -> None:
        super().__init__()
        self.gate = Gate(*(Context(channels, reduction) for _ in range(2)))

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        return blend(self.gate(shortcut + branch), shortcut, branch)


class ResGlobforGlobCha(nn.Module):
    """Z = B₁(X+Y), out = B₂(Z), Bᵢ(z) = 2·gᵢ⊗Y + 2·(1−gᵢ)⊗X, gᵢ = σ(BN(Wᵢ·GAP(z)))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Gate(Pooled(Pointwise(channels)))
        self.second = Gate(Pooled(Pointwise(channels)))

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        fused = blend(self.first(shortcut + branch), shortcut, branch)
        return blend(self.second(fused), shortcut, branch)


class ResLocaforLocaCha(nn.Module):
    """Z = B₁(X+Y), out = B₂(Z), Bᵢ(z) = 2·gᵢ⊗Y + 2·(1−gᵢ)⊗X, gᵢ = σ(BN(Wᵢ·z))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = Gate(Pointwise(channels))
        self.second = Gate(Pointwise(channels))

    def forward(self, shortcut: Tensor, branch: Tensor) -> Tensor:
        fused = blend(self.first(shortcut + branch), shortcut, branch)
        return blend(self.second(fused), shortcut, branch)
