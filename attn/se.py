"""SE: Squeeze-and-Excitation Networks (Hu, Shen, Sun, 2018), https://arxiv.org/abs/1709.01507.

Reference: hujie-frank/SENet @ 0262d43 (Caffe), whose two layers have biases. Ports without them
(moskomule/senet.pytorch, and with it the SE rows of NAM and ECA) are `bias=False`.
"""

from torch import Tensor, nn

from attn.fused.contract import ClosedForm
from attn.reduction import hidden_channels


class SE(nn.Module):
    """s = σ(W₂·ReLU(W₁·GAP(x))), y = s⊙x, with W₁: C → C/r and W₂: C/r → C."""

    def __init__(self, channels: int, reduction: int = 16, bias: bool = True) -> None:
        super().__init__()
        hidden = hidden_channels(channels, reduction)
        self.fc1 = nn.Linear(channels, hidden, bias)
        self.relu = nn.ReLU(inplace=True)
        self.fc2 = nn.Linear(hidden, channels, bias)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.excite(x.mean((2, 3))).sigmoid()
        return x * gate[:, :, None, None]

    def excite(self, mean: Tensor) -> Tensor:
        return self.fc2(self.relu(self.fc1(mean)))

    def closed_form(self) -> ClosedForm:
        return ClosedForm(lambda x: (None, self.excite(x.mean)))
