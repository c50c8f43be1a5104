"""The recipe: how to train. The recipe does not know which network and which data."""

import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import Optimizer

from engine.training.ema import Average, ModelEMA, NoEMA
from engine.training.layer_groups import FrozenLayers, lr_scales
from engine.training.optimizer import make_on_device
from engine.transforms.batch import Augment, Compose, Identity
from engine.transforms.crop import Crop
from engine.transforms.mixup import mixed
from engine.transforms.randaugment import RandAugment


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The options of training; ValueError for a value out of range.

    `lr`: peak learning rate at this `batch_size`. `warmup_epochs`: linear warm-up, multiplied with
    the schedule. `schedule(epoch, epochs)`: a factor of the rate. `optimizer(parameters, lr=...)`
    makes an optimizer of torch. `augment`: the change of each training image; RandAugment of
    magnitude `randaugment` (1 to 30, 0: off) follows. `mixup`, `cutmix`: α of the Beta distribution
    (0: off). `sparsity`: p of NAM's penalty p·Σ|γ|, added to the loss. `accumulate`: the number of
    parts of a batch; the gradient is that of the whole batch, but batch norm sees one part at a
    time. `clip_norm`: the largest norm of the gradient. `decay_norms=False`: no weight decay on
    biases and on scales of norms. `ema`: the decay of ModelEMA, whose weights are kept. `lr_scale`:
    factors of the learning rate, by group of layers (backbone, attention, classifier) or by prefix
    of names. `freeze`: the groups or prefixes of the layers that training leaves as they are.
    """

    epochs: int
    batch_size: int
    lr: float
    warmup_epochs: float = 0
    schedule: Callable[[float, int], float]
    optimizer: Callable[..., Optimizer]
    augment: Augment | Crop = field(default_factory=Identity)
    randaugment: int = 0
    mixup: float = 0.0
    cutmix: float = 0.0
    label_smoothing: float = 0.0
    sparsity: float = 0.0
    accumulate: int = 1
    clip_norm: float | None = None
    decay_norms: bool = True
    ema: float | None = None
    lr_scale: Mapping[str, float] | None = None
    freeze: Sequence[str] | None = None

    def __post_init__(self) -> None:
        parts, scales = self.batch_size // 2, (self.lr_scale or {}).values()
        rules = {
            "epochs": (self.epochs >= 1, "at least 1"),
            "batch_size": (self.batch_size >= 2, "at least 2, which batch norm needs"),
            "lr": (0 < self.lr < math.inf, "positive"),
            "warmup_epochs": (0 <= self.warmup_epochs < self.epochs, "0 or more, below epochs"),
            "randaugment": (0 <= self.randaugment <= 30, "from 0 to 30"),
            "mixup": (0 <= self.mixup < math.inf, "0 or more"),
            "cutmix": (0 <= self.cutmix < math.inf, "0 or more"),
            "label_smoothing": (0 <= self.label_smoothing < 1, "at least 0 and below 1"),
            "sparsity": (0 <= self.sparsity < math.inf, "0 or more"),
            "accumulate": (1 <= self.accumulate <= parts, f"from 1 to {parts}, half a batch"),
            "clip_norm": (self.clip_norm is None or 0 < self.clip_norm < math.inf, "positive"),
            "ema": (self.ema is None or 0 <= self.ema < 1, "at least 0 and below 1"),
            "lr_scale": (all(0 < f < math.inf for f in scales), "positive; to stop layers: freeze"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"{name} must be {rule}, got {getattr(self, name)}")

    def steps_per_epoch(self, images: int) -> int:
        """The number of batches; the last may be smaller, but a single image is left out."""
        full, rest = divmod(images, self.batch_size)
        return full + (rest > 1)

    def lr_at(self, step: int, steps_per_epoch: int) -> float:
        """The learning rate of update `step`, counted from 0 over all epochs."""
        epoch = step / steps_per_epoch
        warmup = self.warmup_epochs * steps_per_epoch
        factor = min(1.0, (step + 1) / warmup) if warmup else 1.0
        return self.lr * factor * self.schedule(epoch, self.epochs)

    def make_optimizer(self, model: nn.Module) -> Optimizer:
        """The optimizer of the parameters of `model` that have a gradient.

        ValueError if the optimizer refuses them, ConfigError if `lr_scale` names no layer.
        """
        groups = [part for scaled in self._by_scale(model) for part in self._by_decay(scaled)]
        optimizer = make_on_device(self.optimizer, groups, self.lr)
        if inspect.signature(optimizer.step).parameters["closure"].default is not None:
            raise ValueError(
                f"{type(optimizer).__name__} needs a closure, which training does not have"
            )
        return optimizer

    def _by_scale(self, model: nn.Module) -> list[dict[str, Any]]:
        """The parameters that learn, one group for each factor of the learning rate."""
        learning = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        if not self.lr_scale:
            return [{"params": [p for _, p in learning]}]
        scales = lr_scales(model, self.lr_scale)
        return [
            {"params": [p for name, p in learning if scales[name] == scale], "lr_scale": scale}
            for scale in dict.fromkeys(scales[name] for name, _ in learning)
        ]

    def _by_decay(self, group: dict[str, Any]) -> list[dict[str, Any]]:
        """The group, or its two parts with and without weight decay."""
        if self.decay_norms:
            return [group]
        thick = [p for p in group["params"] if p.ndim > 1]
        thin = [p for p in group["params"] if p.ndim <= 1]
        parts = [group | {"params": thick}, group | {"params": thin, "weight_decay": 0.0}]
        return [part for part in parts if part["params"]]

    def freeze_layers(self, model: nn.Module) -> FrozenLayers:
        """Freeze the layers of `model` that `freeze` names."""
        return FrozenLayers(model, self.freeze or ())

    def make_average(self, model: nn.Module) -> Average:
        return NoEMA(model) if self.ema is None else ModelEMA(model, self.ema)

    @property
    def augmentation(self) -> Augment | Crop:
        """The change of each training image, RandAugment included."""
        if not self.randaugment:
            return self.augment
        second = RandAugment(self.randaugment)
        if isinstance(
            self.augment, Crop
        ):  # applied while the image is read; RandAugment on the device
            return replace(self.augment, then=second)
        return Compose(self.augment, second)

    def mixed(
        self, images: Tensor, labels: Tensor, classes: int, seed: int
    ) -> tuple[Tensor, Tensor]:
        """Mix the images (N, C, H, W) of a batch; return them with labels (N,) or soft labels."""
        return mixed(images, labels, classes, self.mixup, self.cutmix, seed)

    def parts(self, images: int) -> int:
        """The number of parts of a batch: `accumulate`, or fewer so that each has two images."""
        return max(1, min(self.accumulate, images // 2))

    def loss(self, model: nn.Module, logits: Tensor, targets: Tensor) -> Tensor:
        """The loss for labels (N,) or soft labels (N, classes), the sparsity penalty included."""
        loss = F.cross_entropy(logits.float(), targets, label_smoothing=self.label_smoothing)
        return loss + self.sparsity * penalty(model) if self.sparsity else loss


def penalized(model: nn.Module) -> Iterable[nn.Module]:
    """The modules with a method `penalty`."""
    return (module for module in model.modules() if hasattr(module, "penalty"))


def penalty(model: nn.Module) -> Tensor:
    """The sum of the penalties of all modules; for NAM, Σ|γ| over all scales."""
    return sum(module.penalty() for module in penalized(model))
