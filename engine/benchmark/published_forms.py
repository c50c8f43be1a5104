"""Attention as it was published, to be measured beside ours: the formulas taken at their word.

Each is made of one of our modules and has its parameters, so that both compute the same. The steps
are those that papers and their code take (each map that is permuted is copied, each gate expanded),
written anew. They are for benchmarks; nothing trains with them.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.errors import ConfigError


class NAM(nn.Module):
    """Batch norm; the weights multiply a copy of its output that has the channels last."""

    def __init__(self, ours: nn.Module) -> None:
        super().__init__()
        if not isinstance(ours.spatial, nn.Identity):
            raise ConfigError("attn.spatial=true: only the channel gate of NAM is restated")
        self.bn = ours.channel.bn

    def forward(self, x: Tensor) -> Tensor:
        scale = self.bn.weight.detach().abs()
        y = self.bn(x).permute(0, 2, 3, 1).contiguous()
        y = (y * (scale / scale.sum())).permute(0, 3, 1, 2).contiguous()
        return torch.sigmoid(y) * x


class SE(nn.Module):
    """Adaptive pooling, two linear layers, and a gate that is expanded to the whole map."""

    def __init__(self, ours: nn.Module) -> None:
        super().__init__()
        self.mlp = nn.Sequential(ours.fc1, nn.ReLU(inplace=True), ours.fc2, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        gate = self.mlp(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return x * gate[:, :, None, None].expand_as(x)


class ECA(nn.Module):
    """Adaptive pooling, a convolution over the channels, and an expanded gate."""

    def __init__(self, ours: nn.Module) -> None:
        super().__init__()
        self.conv = ours.conv

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1).squeeze(-1).transpose(1, 2)
        gate = self.conv(pooled).transpose(1, 2).unsqueeze(-1)
        return x * torch.sigmoid(gate).expand_as(x)


class CBAM(nn.Module):
    """Two pooled vectors through the MLP one by one; then the maximum and the mean of the map."""

    def __init__(self, ours: nn.Module) -> None:
        super().__init__()
        channel, spatial = ours.gates
        if not hasattr(channel, "mlp") or channel.pools != ("avg", "max"):
            raise ConfigError("attn.order, attn.pools: only the defaults of CBAM are restated")
        self.mlp, self.conv, self.bn = channel.mlp, spatial.conv, spatial.bn

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        pooled = (pool(x, size).flatten(1) for pool in (F.avg_pool2d, F.max_pool2d))
        gate = torch.sigmoid(sum(self.mlp(vector) for vector in pooled))
        x = x * gate[:, :, None, None].expand_as(x)
        maps = torch.cat([x.max(1).values.unsqueeze(1), x.mean(1).unsqueeze(1)], dim=1)
        return x * torch.sigmoid(self.bn(self.conv(maps)))


FORMS = {"attn.nam.NAM": NAM, "attn.se.SE": SE, "attn.eca.ECA": ECA, "attn.cbam.CBAM": CBAM}


def use_published_forms(model: nn.Module) -> int:
    """Put the published form in the place of each module that has one; how many there were."""
    found = [
        (parent, name, form)
        for parent in model.modules()
        for name, child in parent.named_children()
        if (form := FORMS.get(f"{type(child).__module__}.{type(child).__name__}"))
    ]
    for parent, name, form in found:
        setattr(parent, name, form(getattr(parent, name)))
    return len(found)
