"""SPA: Spatial Pyramid Attention (Guo et al., 2020), https://doi.org/10.1109/ICME46284.2020.9102906.

Reference: 13952522076/SPANet @ 031320d, models/spp_se_resnet.py, its "SPPSE". The variants that
attend beside the branch, to the block's input ("PSPPSE", "CPSPPSE"), are not here. The pooling is
adaptive pooling in one pass and with a deterministic backward, which torch's is not on a GPU.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from attn.reduction import hidden_channels


class Pyramid(nn.Module):
    """The means over side x side cells, for each side: (N, C, H, W) -> (N, C·Σside²).

    Where cells do not divide the map they overlap, as in adaptive pooling.
    """

    def __init__(self, sides: Sequence[int]) -> None:
        super().__init__()
        self.sides = tuple(sides)
        cells = [(i, side) for side in sides for i in range(side)]
        self.register_buffer("cells", torch.tensor(cells)[:, :, None], persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        _, c, h, w = x.shape
        rows = averages(self.cells, h, x) @ x.movedim(1, -1).flatten(2)  # (N, Σside, W·C)
        rows = rows.unfold(2, c, c).split(self.sides, 1)  # unflatten asks torch.export what W is
        columns = averages(self.cells, w, x).split(self.sides)
        maps = [(columns[i] @ rows[i]).movedim(-1, 1) for i in range(len(self.sides))]
        return torch.cat([m.flatten(1) for m in maps], 1)


@torch.fx.wrap  # which has no arange of a length that is a proxy
def averages(cells: Tensor, length: int, x: Tensor) -> Tensor:
    """(Σside, length): what each cell's mean takes from each of `length` pixels in a line."""
    i, side = cells.unbind(1)
    start, stop = i * length // side, ((i + 1) * length + side - 1) // side
    pixel = torch.arange(length, device=x.device)
    inside = (start <= pixel) & (pixel < stop)
    return inside.to(x.dtype) / (stop - start)


class SPA(nn.Module):
    """y = x⊙σ(W₂·ReLU(W₁·p)), p the means over 1x1, 2x2 and 4x4 cells: 21·C → C/r → C, no bias."""

    def __init__(
        self, channels: int, reduction: int = 16, pyramid: Sequence[int] = (1, 2, 4)
    ) -> None:
        super().__init__()
        if not pyramid or min(pyramid) < 1:
            raise ValueError(f"pyramid={list(pyramid)}: choose some numbers of cells per side")
        hidden = hidden_channels(channels, reduction)
        self.pool = Pyramid(pyramid)
        self.fc1 = nn.Linear(channels * sum(side**2 for side in pyramid), hidden, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Linear(hidden, channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.fc2(self.relu(self.fc1(self.pool(x)))).sigmoid()
        return x * gate[:, :, None, None]
