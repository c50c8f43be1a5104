"""The weights to evaluate and keep: the last ones, or their exponential moving average."""

import copy
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class Average(Protocol):
    """`model` is the network to evaluate; `update` is called after each update of the weights."""

    model: nn.Module

    def update(self, model: nn.Module, step: int) -> None: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class NoEMA:
    """No average: the trained network is evaluated."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def update(self, model: nn.Module, step: int) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class ModelEMA:
    """average ← d·average + (1 - d)·weights after each update, batch norm's statistics included.

    d is min(decay, (1 + step)/(10 + step)): the first weights of a short run count little.
    The caller counts the steps, so the average has no counter to restore.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update(self, model: nn.Module, step: int) -> None:
        decay = min(self.decay, (1 + step) / (10 + step))
        pairs = list(zip(_tensors(self.model), _tensors(model), strict=True))
        averaged, current = zip(*(p for p in pairs if p[0].is_floating_point()), strict=True)
        get_ema_multi_avg_fn(decay)(averaged, current, None)
        for counted, count in (p for p in pairs if not p[0].is_floating_point()):
            counted.copy_(count)

    def state_dict(self) -> dict[str, Any]:
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state)


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    return [*model.parameters(), *model.buffers()]
