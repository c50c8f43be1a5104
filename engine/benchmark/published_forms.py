"""Attention in the steps of the papers and of the authors' code, to be measured beside ours.

A published form takes the parameters of one of our modules, and computes the same numbers. Each
permuted map is copied and each gate expanded, as in the authors' code; the lines are written anew.
The forms are for benchmarks alone: no run trains with them.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.errors import ConfigError


class PublishedNAM(nn.Module):
    """Batch norm; the weights multiply a copy of its output that has the channels last."""

    def __init__(self, ours: nn.Module) -> None:
        super().__init__()
        if not isinstance(ours.spatial, nn.Identity):
            raise ConfigError(
                "attn.spatial=true: only the channel gate of NAM has a published form"
            )
        self.bn = ours.channel.bn

    def forward(self, x: Tensor) -> Tensor:
        scale = self.bn.weight.detach().abs()
        y = self.bn(x).permute(0, 2, 3, 1).contiguous()
        y = (y * (scale / scale.sum())).permute(0, 3, 1, 2).contiguous()
        return torch.sigmoid(y) * x


class PublishedSE(nn.Module):
    """Adaptive pooling, two linear layers, and a gate that is expanded to the whole map."""

    def __init__(self, ours: nn.Module) -> None:
        super().__init__()
        self.mlp = nn.Sequential(ours.fc1, nn.ReLU(inplace=True), ours.fc2, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        gate = self.mlp(F.adaptive_avg_pool2d(x, 1).flatten(1))
        return x * gate[:, :, None, None].expand_as(x)


class PublishedECA(nn.Module):
    """Adaptive pooling, a convolution over the channels, and an expanded gate."""

    def __init__(self, ours: nn.Module) -> None:
        super().__init__()
        self.conv = ours.conv

    def forward(self, x: Tensor) -> Tensor:
        pooled = F.adaptive_avg_pool2d(x, 1).squeeze(-1).transpose(1, 2)
        gate = self.conv(pooled).transpose(1, 2).unsqueeze(-1)
        return x * torch.sigmoid(gate).expand_as(x)


class PublishedCBAM(nn.Module):
    """Two pooled vectors through the MLP one by one; then the maximum and the mean of the map."""

    def __init__(self, ours: nn.Module) -> None:
        super().__init__()
        channel, spatial = ours.gates
        if not hasattr(channel, "mlp") or channel.pools != ("avg", "max"):
            raise ConfigError(
                "attn.order, attn.pools: only the defaults of CBAM have a published form"
            )
        self.mlp, self.conv, self.bn = channel.mlp, spatial.conv, spatial.bn

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[2:]
        pooled = (pool(x, size).flatten(1) for pool in (F.avg_pool2d, F.max_pool2d))
        gate = torch.sigmoid(sum(self.mlp(vector) for vector in pooled))
        x = x * gate[:, :, None, None].expand_as(x)
        maps = torch.cat([x.max(1).values.unsqueeze(1), x.mean(1).unsqueeze(1)], dim=1)
        return x * torch.sigmoid(self.bn(self.conv(maps)))


FORMS = {  # by the name that a file of conf/attn gives the module
    "attn.NAM": PublishedNAM,
    "attn.SE": PublishedSE,
    "attn.ECA": PublishedECA,
    "attn.CBAM": PublishedCBAM,
}


def use_published_form(
    model: nn.Module, ours: type[nn.Module], published: Callable[[nn.Module], nn.Module]
) -> int:
    """Replace each module of the class `ours` by its published form; return their number."""
    found = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if type(child) is ours
    ]
    for parent, name, child in found:
        setattr(parent, name, published(child))
    return len(found)
