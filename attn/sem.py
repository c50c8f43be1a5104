"""SEM: Switchable Self-attention Module (Zhong et al., 2022), https://arxiv.org/abs/2209.05680.

Reference: Qrange-group/SEM @ db5e194, models/sem.py, in bottlenecks only. The decisions scale
logits, and each operator keeps its own sigmoid: a product of three, 0.10 at the start, where SE
starts at 0.5.
"""

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from attn.eca import adaptive_kernel_size
from attn.ie import Enhance
from attn.reduction import hidden_channels


class FC(nn.Sequential):
    """The excitation of SE: C → C/r → C, (N, C) to (N, C)."""

    def __init__(self, channels: int, reduction: int = 16) -> None:
        hidden = hidden_channels(channels, reduction)
        super().__init__(
            nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels)
        )


class CNN(nn.Module):
    """The excitation of ECA: one kernel, sized by ECA's Eq. 12, runs over the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        k = adaptive_kernel_size(channels)
        self.conv = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)

    def forward(self, means: Tensor) -> Tensor:
        return self.conv(means[:, None])[:, 0]


OPERATORS = {"fc": FC, "cnn": CNN, "ie": Enhance}
NAMES = {operator: name for name, operator in OPERATORS.items()}


class SEM(nn.Module):
    """y = x⊙Π_i σ(s_i·f_i(m)), with m = GAP(x) and s = σ(W·m + c), one number per operator.

    An operator is one of OPERATORS by name, or any `channels -> module` from (N, C) to (N, C).
    """

    def __init__(
        self,
        channels: int,
        operators: Sequence[str | Callable[[int], nn.Module]] = ("fc", "cnn", "ie"),
    ) -> None:
        super().__init__()
        self.operators = nn.ModuleList(_factory(operator)(channels) for operator in operators)
        if not self.operators:
            raise ValueError(f"operators is empty: choose some of {', '.join(OPERATORS)}")
        self.decision = nn.Linear(channels, len(self.operators))

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3))
        switches = self.decision(means).sigmoid().split(1, dim=1)
        logits = [switches[i] * f(means) for i, f in enumerate(self.operators)]
        gate = math.prod([logit.sigmoid() for logit in logits])
        return x * gate.to(x.dtype)[:, :, None, None]

    def decisions(self, x: Tensor) -> dict[str, Tensor]:
        """The switch s of each operator on each image, (N,); two of one name are told by place."""
        switches = self.decision(x.mean((2, 3))).sigmoid().unbind(1)
        names = [NAMES.get(type(f), type(f).__name__) for f in self.operators]
        unique = [n if names.count(n) == 1 else f"{n}{i}" for i, n in enumerate(names, 1)]
        return dict(zip(unique, switches, strict=True))


def _factory(operator: str | Callable[[int], nn.Module]) -> Callable[[int], nn.Module]:
    if callable(operator):
        return operator
    if operator not in OPERATORS:
        raise ValueError(f"operator {operator}: choose from {', '.join(OPERATORS)}")
    return OPERATORS[operator]
