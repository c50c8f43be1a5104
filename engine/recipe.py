"""The recipe: everything that decides how to train, nothing about what."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from engine.augment import Augment, Keep


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """`optimizer(parameters, lr=...)` and `schedule(epoch, epochs)` are called by the run.

    `lr` is the peak rate at this `batch_size`; `warmup_epochs` of linear warm-up multiply the
    schedule; `sparsity` is the p of NAM's penalty p·Σ|γ|, added to the loss.
    """

    epochs: int
    batch_size: int
    lr: float
    optimizer: Callable[..., Optimizer]
    schedule: Callable[[float, int], float]
    augment: Augment = field(default_factory=Keep)
    warmup_epochs: float = 0.0
    label_smoothing: float = 0.0
    sparsity: float = 0.0

    def __post_init__(self) -> None:
        rules = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 2, "at least 2, which batch norm needs"),
            "lr": (0 < self.lr < math.inf, "positive"),
            "warmup_epochs": (0 <= self.warmup_epochs < self.epochs, "0 or more, below epochs"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "at least 0 and below 1"),
            "sparsity": (0 <= self.sparsity < math.inf, "0 or more"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"{name} must be {rule}, got {getattr(self, name)}")

    def steps_per_epoch(self, images: int) -> int:
        """The last batch may be smaller; one image alone is left out, batch norm cannot take it."""
        full, rest = divmod(images, self.batch_size)
        return full + (rest > 1)

    def lr_at(self, step: int, steps_per_epoch: int) -> float:
        """The rate of the step'th update, counted from 0 over all epochs."""
        epoch = step / steps_per_epoch
        warmup = self.warmup_epochs * steps_per_epoch
        factor = min(1.0, (step + 1) / warmup) if warmup else 1.0
        return self.lr * factor * self.schedule(epoch, self.epochs)

    def make_optimizer(self, model: nn.Module) -> Optimizer:
        return self.optimizer(model.parameters(), lr=self.lr)

    def loss(self, model: nn.Module, logits: Tensor, labels: Tensor) -> Tensor:
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=self.label_smoothing)
        return loss + self.sparsity * penalty(model) if self.sparsity else loss


def penalized(model: nn.Module) -> Iterable[nn.Module]:
    """The modules that offer a penalty: those with a method of that name."""
    return (module for module in model.modules() if hasattr(module, "penalty"))


def penalty(model: nn.Module) -> Tensor:
    """The sum of what the modules offer: for NAM, Σ|γ| over all of its scales."""
    return sum(module.penalty() for module in penalized(model))
