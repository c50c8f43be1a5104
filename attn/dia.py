"""DIA: Dense-and-Implicit Attention (Huang et al., 2020), https://arxiv.org/abs/1905.10671.

Reference: gbup-group/DIANet @ 51685ca, models/cifar/dia_resnet.py. The code has what an LSTM
has not: a hidden layer in each of its two maps, and the output o⊙σ(c) in place of o⊙tanh(c).

The blocks of a stage share a cell and hand its state on, from one to the next, within a forward
pass. Blocks therefore run in the order in which they were built, all of them, each once.
"""

from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from attn.reduction import hidden_channels


class Cell(nn.Module):
    """c' = σ(f)⊙c + σ(i)⊙tanh(g), h' = σ(o)⊙σ(c'), with (i, f, g, o) = A(m) + B(h).

    A and B are C → C/r → 4C; all of m, h and c are (N, C).
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = hidden_channels(channels, reduction)
        self.input = _mlp(channels, hidden)
        self.recurrent = _mlp(channels, hidden)

    def forward(self, means: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, g, o = (self.input(means) + self.recurrent(h)).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        return o.sigmoid() * c.sigmoid(), c


class Chain:
    """What the blocks of a stage share: the cell, and its state on the way to the next block."""

    def __init__(self, cell: Cell) -> None:
        self.cell = cell
        self.state: tuple[Tensor, Tensor] | None = None

    def __getstate__(self) -> dict[str, object]:
        return {"cell": self.cell, "state": None}  # copies and saved models start at rest


class DIABlock(nn.Module):
    """y = x⊙h at one site, with (h, c) from the cell, the means of x and the block before."""

    def __init__(self, channels: int, reduction: int, before: "DIABlock | None") -> None:
        super().__init__()
        self.first, self.last = before is None, True
        if before is None:
            self.cell = Cell(channels, reduction)  # a module of the first block's alone, so that a
            self.chain = Chain(self.cell)  # state_dict names each parameter once
        else:
            self.chain = before.chain
            before.last = False

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3))
        rest = (torch.zeros_like(means), torch.zeros_like(means))
        state = rest if self.first else self.chain.state
        if state is None:
            raise RuntimeError("DIA: a block ran without the one before it in its stage")
        h, c = self.chain.cell(means, *state)
        self.chain.state = None if self.last else (h, c)
        return x * h[:, :, None, None]


class DIA:
    """y = x⊙h, with (h, c) from the stage's cell, the means of x, and the block before.

    Makes the modules of one network, called as `channels, stage -> module`, in forward order.

    One cell per stage, and per width where a stage has several. An object is for one network: only
    a stage below the last one asked for tells it that another has begun.
    """

    def __init__(self, *, reduction: int = 4) -> None:
        self.reduction = reduction
        self.stage: int | None = None
        self.blocks: WeakValueDictionary[tuple, DIABlock] = WeakValueDictionary()

    def __call__(self, channels: int, stage: int | None = None) -> DIABlock:
        if stage is not None and self.stage is not None and stage < self.stage:
            self.blocks.clear()
        self.stage = stage
        before = self.blocks.get((stage, channels))
        block = self.blocks[stage, channels] = DIABlock(channels, self.reduction, before)
        return block


def _mlp(channels: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 4 * channels)
    )
