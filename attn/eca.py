"""ECA: Efficient Channel Attention (Wang et al., 2020), https://arxiv.org/abs/1910.03151.

Reference: BangguWu/ECANet @ b332f6b. The released networks do not follow the paper's formula but
name one kernel size per stage: ResNet-18 3577, ResNet-34 and -101 3357, ResNet-50 3557.
"""

import math
from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from attn.fused.contract import ClosedForm


def adaptive_kernel_size(channels: int, gamma: int = 2, b: int = 1) -> int:
    """Eq. 12: k = |log₂(C)/γ + b/γ|, truncated, then the next odd number if it is even."""
    t = int(abs((math.log2(channels) + b) / gamma))
    return t if t % 2 else t + 1


class ECA(nn.Module):
    """y = σ(conv1d_k(GAP(x)))⊙x, the convolution running over the channels, without bias.

    `kernel_size` is one odd number, or a list of them by stage, or None for Eq. 12. The network
    tells `stage` (counted from 1) to a module that asks for it.
    """

    def __init__(
        self,
        channels: int,
        kernel_size: int | Sequence[int] | None = None,
        stage: int | None = None,
    ) -> None:
        super().__init__()
        k = _kernel_size(channels, kernel_size, stage)
        self.conv = nn.Conv1d(1, 1, k, padding=k // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.interact(x.mean((2, 3))).sigmoid()
        return x * gate[:, :, None, None]

    def interact(self, mean: Tensor) -> Tensor:
        """The convolution as a product: torch's own takes many times longer backwards."""
        k = self.conv.kernel_size[0]
        windows = F.pad(mean, (k // 2, k // 2)).unfold(1, k, 1)
        return (windows @ self.conv.weight.view(k, 1))[:, :, 0]

    def closed_form(self) -> ClosedForm:
        return ClosedForm(lambda x: (None, self.interact(x.mean)))


def _kernel_size(channels: int, choice: int | Sequence[int] | None, stage: int | None) -> int:
    if choice is None:
        return adaptive_kernel_size(channels)
    if not isinstance(choice, int):
        if stage is None or not 1 <= stage <= len(choice):
            raise ValueError(f"kernel_size={list(choice)} has no entry for stage {stage}")
        choice = choice[stage - 1]
    if choice < 1 or choice % 2 == 0:
        raise ValueError(f"kernel_size must be odd and positive, got {choice}")
    return choice
