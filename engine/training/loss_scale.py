"""The update of the weights, and the loss scale that fp16 needs for it."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


class LossScale:
    """torch's GradScaler, which is inactive unless `enabled`, and a count of the steps it skipped.

    In fp16 small gradients become 0, so the loss is multiplied by a large factor. A step whose
    gradient overflows is skipped and halves the factor; 2,000 good steps in a row double it.
    """

    def __init__(self, device: torch.device, enabled: bool) -> None:
        self.enabled = enabled
        self.scaler = torch.amp.GradScaler(device.type, enabled=enabled)
        self.skipped = torch.zeros((), dtype=torch.int64, device=device)  # in this epoch

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of the scaled `loss`."""
        self.scaler.scale(loss).backward()

    def update(self, optimizer: Optimizer, model: nn.Module, clip_norm: float | None) -> None:
        """One update of the weights, from the gradient that is there."""
        if clip_norm is not None:
            self.scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), clip_norm)
        self.scaler.step(optimizer)
        if self.enabled:
            before = self.scaler._scale.clone()  # on the device, where get_scale() would wait
            self.scaler.update()
            self.skipped += self.scaler._scale < before

    def state_dict(self) -> dict[str, Any]:
        return self.scaler.state_dict() | {"skipped": self.skipped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.scaler.load_state_dict({k: v for k, v in state.items() if k != "skipped"})
        self.skipped.copy_(state["skipped"])
