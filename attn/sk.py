"""SK: Selective Kernel Networks (Li et al., 2019), https://arxiv.org/abs/1903.06586.

Reference: implus/SKNet @ 17dd708 (Caffe), models/sknet50.prototxt, the network of the published
numbers: both kernels are 3x3, the second with dilation 2 in place of 5x5. The port of pppLang has
true 5x5 kernels and neither BN nor ReLU in z. The authors' SKNet-101 has 16 for the paper's 32 as
the least width of z in its second stage: `min_channels=[32, 16, 32, 32]`.
"""

from collections.abc import Sequence

from torch import Tensor, nn


class SK(nn.Module):
    """V = Σ aᵢ⊙Uᵢ, Uᵢ = ReLU(BN(conv_dilᵢ(x))), a = softmaxᵢ(Aᵢ·z), z = ReLU(BN(W·GAP(ΣUᵢ))).

    In place of a 3x3 convolution, so (N, out_channels, H/stride, W/stride) comes out. z has
    max(out_channels / reduction, min_channels) elements; `min_channels` is one number or a list of
    them by `stage` (from 1), which the network tells. Training needs batches above 1 (BN).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        stride: int = 1,
        groups: int = 1,
        branches: int = 2,
        reduction: int = 16,
        min_channels: int | Sequence[int] = 32,
        stage: int | None = None,
    ) -> None:
        super().__init__()
        if min(branches, reduction) < 1:
            raise ValueError(f"must be positive: {branches=}, {reduction=}")
        hidden = max(out_channels // reduction, _least(min_channels, stage))
        self.branches = nn.ModuleList(
            _conv_bn_relu(in_channels, out_channels, stride, dilation, groups)
            for dilation in range(1, branches + 1)
        )
        self.squeeze = nn.Linear(out_channels, hidden, bias=False)
        self.bn = nn.BatchNorm1d(hidden)
        self.relu = nn.ReLU(inplace=True)
        self.select = nn.Linear(hidden, branches * out_channels, bias=False)
        for layer in (self.squeeze, self.select):
            nn.init.normal_(layer.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        maps = [branch(x) for branch in self.branches]
        means = sum(u.mean((2, 3)) for u in maps)  # of ΣUᵢ, without a map to hold the sum
        logits = self.select(self.relu(self.bn(self.squeeze(means))))
        weights = logits.unflatten(1, (len(maps), -1)).softmax(1)[..., None, None].unbind(1)
        return sum(weights[i] * u for i, u in enumerate(maps))


def _least(choice: int | Sequence[int], stage: int | None) -> int:
    if isinstance(choice, int):
        return choice
    if stage is None or not 1 <= stage <= len(choice):
        raise ValueError(f"min_channels={list(choice)} has no entry for stage {stage}")
    return choice[stage - 1]


def _conv_bn_relu(
    in_channels: int, out_channels: int, stride: int, dilation: int, groups: int
) -> nn.Sequential:
    conv = nn.Conv2d(
        in_channels, out_channels, 3, stride, dilation, dilation, groups=groups, bias=False
    )
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
