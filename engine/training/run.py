"""A run: everything that training changes, and exactly what a checkpoint holds."""

import io
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engine.complexity import params
from engine.distributed.ranks import SINGLE_PROCESS, Ranks
from engine.errors import ConfigError, NonFiniteError, as_config_error
from engine.storage import checkpoint
from engine.training.compile import compiled
from engine.training.loss_scale import LossScale
from engine.training.optimizer import set_lr
from engine.training.recipe import Recipe, penalized

PRECISIONS = {
    "fp32": torch.float32,
    "strict_fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
}
# Attributes of a run that a checkpoint holds as they are; Run.stateful holds the others.
PROGRESS = ("epoch", "step", "seconds", "images", "losses", "correct")


class Run:
    """`model` in training by `recipe`: `step` updates into epoch `epoch`, both counted from 0."""

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        seed: int,
        device: str,
        precision: str,
        ranks: Ranks = SINGLE_PROCESS,
        compile: str | None = None,
    ) -> None:
        require_precision(precision, device)
        if recipe.sparsity and not any(penalized(model)):
            raise ConfigError(
                f"recipe.sparsity={recipe.sparsity}: no module of this network has a penalty"
            )
        self.model = model.to(device, memory_format=torch.channels_last)
        self.forward = self.model  # the one that training calls
        if compile is not None:
            self.forward = compiled(self.model, compile, device, recipe.accumulate)
        self.recipe = recipe
        with as_config_error("recipe.optimizer"):
            self.optimizer = recipe.make_optimizer(self.model)
        self.average = recipe.make_average(self.model)
        self.seed = seed
        self.device = torch.device(device)
        self.precision = precision
        self.compile = compile
        self.scale = LossScale(self.device, enabled=self.dtype is torch.float16)
        self.graph: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None  # a step, see graph.py
        self.eval_graph: Callable[[Tensor], Tensor] | None = None  # pixels to logits
        self.ranks = ranks
        self.epoch = 0
        self.step = 0
        self.seconds = 0.0  # spent in the epochs, and parts of epochs, that reached their end
        self.images = 0  # trained on in these seconds
        self.losses = torch.empty(0, device=device)  # of the steps of this epoch
        self.correct = torch.zeros(2, dtype=torch.int64, device=device)  # top-1, top-5, this epoch
        self.last_copy: dict[str, Any] | None = None  # where a divergence is traced from

    def __str__(self) -> str:
        several = self.ranks.world_size > 1
        where = f"{self.ranks.world_size} x {self.device.type}" if several else self.device
        return f"{params(self.model):,} parameters, {self.precision} on {where}"

    @property
    def stateful(self) -> dict[str, Any]:
        """What a checkpoint holds by `state_dict`, in addition to PROGRESS."""
        parts = {"model": self.model, "optimizer": self.optimizer, "average": self.average}
        return parts | ({"scale": self.scale} if self.scale.enabled else {})

    def state_dict(self) -> dict[str, Any]:
        parts = {name: part.state_dict() for name, part in self.stateful.items()}
        return parts | {name: getattr(self, name) for name in PROGRESS}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self.stateful.items():
            part.load_state_dict(state[name])
        for name in PROGRESS:
            value = state[name]
            setattr(self, name, value.to(self.device) if isinstance(value, Tensor) else value)

    @property
    def dtype(self) -> torch.dtype:
        """Of the forward pass, where torch deems it safe."""
        return PRECISIONS[self.precision]

    def autocast(self) -> torch.autocast:
        """The context of the forward pass: 16 bits in the operations that torch deems safe."""
        # A switch of the whole process, and several runs of one process may differ.
        torch.backends.cudnn.allow_tf32 = self.precision != "strict_fp32"
        enabled = self.dtype is not torch.float32
        return torch.autocast(self.device.type, self.dtype, enabled=enabled)

    def seed_dropout(self, seed: int) -> None:
        """Restart all randomness inside the network from `seed`.

        Only the generator of the run's device is seeded: where torch was built for CUDA and finds
        no GPU, torch.manual_seed formats a stack trace at every call.
        """
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        elif self.device.type == "cuda":
            torch.cuda.default_generators[self.device.index or 0].manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def set_lr(self, lr: float) -> None:
        """The learning rate of the next update."""
        set_lr(self.optimizer, lr)

    @property
    def eval_model(self) -> nn.Module:
        """The network that is measured and kept: the trained one, or the average of its weights."""
        return self.average.model

    @property
    def images_per_second(self) -> float:
        """Of training, over all of it so far."""
        return self.images / self.seconds

    def nonfinite(self) -> str | None:
        """The first of the losses, weights and buffers that is not finite; None if all are.

        One norm of all tensors, read once: the largest magnitude is finite only if all numbers are.
        """
        named = {"loss": self.losses} | self.model.state_dict()
        named |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        named = {k: v for k, v in named.items() if v.is_floating_point() and v.numel()}
        largest = torch._foreach_norm([*named.values()], math.inf)
        finite = torch.stack([norm.double() for norm in largest]).isfinite().tolist()
        return next((name for name, good in zip(named, finite, strict=True) if not good), None)

    def sync_buffers(self) -> None:
        """Give all ranks rank 0's running statistics; everything else is equal on all ranks."""
        self.ranks.broadcast_buffers([*self.model.buffers(), *self.eval_model.buffers()])

    def save(self, folder: Path) -> None:
        """Write the newest checkpoint of `folder`; NonFiniteError if a number is not finite."""
        self.ranks.broadcast_result(checkpoint.save, folder, self._copy_to_save())

    def start_saving(self, writer: checkpoint.Writer) -> None:
        """The same while training goes on: rank 0 writes a copy of the state in a thread."""
        self.ranks.run_on_rank_zero(writer.start, self._copy_to_save())

    def _copy_to_save(self) -> dict[str, Any]:
        self.sync_buffers()
        if name := self.nonfinite():
            raise NonFiniteError(
                f"{name} is not finite {self.step} steps into epoch {self.epoch + 1}; "
                "not saved, the checkpoint before it is kept"
            )
        self.last_copy = self.copy()
        return self.last_copy

    def copy(self) -> dict[str, Any]:
        """The state as a checkpoint holds it, in the computer's memory."""
        return _on_cpu(self.state_dict())

    def resume(self, folder: Path) -> bool:
        """Go on from the newest checkpoint in `folder`; False where there is none."""
        found = self.ranks.broadcast_result(partial(self._load, folder))
        self.ranks.broadcast_state(self.snapshot, self.restore)
        return found

    def _load(self, folder: Path) -> bool:
        state = checkpoint.load(folder, like=self.state_dict())
        if state is not None:
            self.load_state_dict(state)
        return state is not None

    def next_epoch(self) -> None:
        """Begin another epoch, with nothing counted yet."""
        self.epoch, self.step = self.epoch + 1, 0
        self.losses = self.losses.new_empty(0)
        self.correct = torch.zeros_like(self.correct)
        self.scale.skipped.zero_()

    def snapshot(self) -> bytes:
        """The state as the bytes of a checkpoint."""
        file = io.BytesIO()
        torch.save(self.state_dict(), file)
        return file.getvalue()

    def restore(self, snapshot: bytes) -> None:
        self.load_state_dict(torch.load(io.BytesIO(snapshot), "cpu", weights_only=True))


def require_precision(precision: str, device: str) -> None:
    """ConfigError for an unknown precision, or one that `device` does not have."""
    if precision not in PRECISIONS:
        raise ConfigError(f"precision={precision}: choose from {', '.join(PRECISIONS)}")
    if precision == "fp16" and not device.startswith("cuda"):
        raise ConfigError("precision=fp16 needs a CUDA GPU; take precision=bf16 or fp32")


def _on_cpu(tree: Any) -> Any:
    """A copy of nested dicts and lists of tensors that shares no memory with them."""
    if isinstance(tree, Tensor):
        return tree.detach().to("cpu", copy=True)
    if isinstance(tree, dict):
        return type(tree)((key, _on_cpu(value)) for key, value in tree.items())
    return [_on_cpu(item) for item in tree] if isinstance(tree, list) else tree
