"""EA: External Attention (Guo et al., 2021), https://arxiv.org/abs/2105.02358.

Reference: xmu-xiaoma666/External-Attention-pytorch @ d75848e, model/attention/ExternalAttention.py,
not the authors' but the copy in use: the double normalisation alone, its tokens the pixels here. It
adds nothing to x, and starts close to 0.
"""

from torch import Tensor, nn


class ExternalAttention(nn.Module):
    """y = M_v·norm(M_k·x) at every pixel, with two memories of S rows, C → S and S → C, no bias.

    norm: softmax over the pixels, then each pixel's S weights divided by their sum.
    """

    def __init__(self, channels: int, memory: int = 64) -> None:
        super().__init__()
        if memory < 1:
            raise ValueError(f"memory must be positive, got {memory}")
        self.key = nn.Linear(channels, memory, bias=False)
        self.value = nn.Linear(memory, channels, bias=False)
        for layer in (self.key, self.value):
            nn.init.normal_(layer.weight, std=0.001)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)  # (N, HW, C)
        weights = self.key(tokens).softmax(1)
        weights = weights / weights.sum(2, keepdim=True)
        return self.value(weights).transpose(1, 2).unflatten(2, x.shape[2:])
