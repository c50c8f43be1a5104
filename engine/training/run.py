"""A run: all state that training changes. A checkpoint holds this state."""

import io
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from engine.complexity import params
from engine.distributed.ranks import SINGLE_PROCESS, Ranks
from engine.errors import ConfigError, NonFiniteError, as_config_error
from engine.seeds import Seeds, same_seeds
from engine.storage import checkpoint
from engine.training.compile import compiled, epilogues, inductor_options
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
    """A network in training: `step` updates of epoch `epoch` are done, both counted from 0.

    ConfigError for a precision that the device does not have, for an optimizer that the recipe
    cannot use, and for a sparsity penalty that no module of the network has.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        seed: int | Seeds,
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
        self.forward = self.model  # the network or its compiled form; training calls this one
        if compile is not None:
            extra = inductor_options(self.model, device)
            self.forward = compiled(self.model, compile, device, recipe.accumulate, extra=extra)
        self.recipe = recipe
        self.frozen = recipe.freeze_layers(self.model)
        with as_config_error("recipe.optimizer"):
            self.optimizer = recipe.make_optimizer(self.model)
        self.average = recipe.make_average(self.model)
        self.seeds = seed if isinstance(seed, Seeds) else same_seeds(seed)
        self.device = torch.device(device)
        self.precision = precision
        self.compile = compile
        self.scale = LossScale(self.device, enabled=self.dtype is torch.float16)
        self.graph: Callable[[Tensor], tuple[Tensor, Tensor]] | None = None  # a step, see graph.py
        self.eval_graph: Callable[[Tensor], Tensor] | None = None  # pixels to logits
        self.ranks = ranks
        self.epoch = 0
        self.step = 0
        self.seconds = 0.0  # of training; the part of an epoch that is repeated counts once
        self.images = 0  # trained in these seconds
        self.losses = torch.empty(0, device=device)  # one for each step of this epoch
        self.correct = torch.zeros(2, dtype=torch.int64, device=device)  # top-1, top-5, this epoch
        self.last_copy: dict[str, Any] | None = None  # the state from which a divergence is traced

    def __str__(self) -> str:
        several = self.ranks.world_size > 1
        where = f"{self.ranks.world_size} x {self.device.type}" if several else self.device
        return f"{params(self.model):,} parameters, {self.precision} on {where}"

    @property
    def stateful(self) -> dict[str, Any]:
        """The parts of the run with a `state_dict`; a checkpoint holds them and PROGRESS."""
        parts = {"model": self.model, "optimizer": self.optimizer, "average": self.average}
        return parts | ({"scale": self.scale} if self.scale.enabled else {})

    @property
    def fused(self) -> bool | None:
        """Whether the ends of the blocks are computed by fused passes; None before the first."""
        return next((epilogue.works for epilogue in epilogues(self.model)), None)

    def state_dict(self) -> dict[str, Any]:
        parts = {name: part.state_dict() for name, part in self.stateful.items()}
        return parts | {name: getattr(self, name) for name in (*PROGRESS, "fused")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self.stateful.items():
            part.load_state_dict(state[name])
        for name in PROGRESS:
            value = state[name]
            setattr(self, name, value.to(self.device) if isinstance(value, Tensor) else value)
        for epilogue in epilogues(self.model):
            epilogue.resume(state.get("fused"))  # older checkpoints do not have it

    @property
    def dtype(self) -> torch.dtype:
        """The type of numbers in the forward pass, in the operations that torch finds safe."""
        return PRECISIONS[self.precision]

    def autocast(self) -> torch.autocast:
        """The context of the forward pass: 16 bits in the operations that torch finds safe."""
        # The switch holds for the process, and two runs of one process may differ in precision.
        torch.backends.cudnn.allow_tf32 = self.precision != "strict_fp32"
        enabled = self.dtype is not torch.float32
        return torch.autocast(self.device.type, self.dtype, enabled=enabled)

    def seed_dropout(self, seed: int) -> None:
        """Restart the random numbers of the network, such as those of dropout, from `seed`.

        Only the generator of the run's device is seeded: without a GPU, a torch built for CUDA
        formats a stack trace in every call of torch.manual_seed.
        """
        if self.device.type == "cpu":
            torch.default_generator.manual_seed(seed)
        elif self.device.type == "cuda":
            torch.cuda.default_generators[self.device.index or 0].manual_seed(seed)
        else:
            torch.manual_seed(seed)

    def set_lr(self, lr: float) -> None:
        """Set the learning rate of the next update."""
        set_lr(self.optimizer, lr)

    def train_mode(self) -> None:
        """Put the network into training mode, except the batch norms of frozen layers."""
        self.model.train()
        self.frozen.hold()

    @property
    def eval_model(self) -> nn.Module:
        """The network to evaluate and keep: the trained one, or the average of its weights."""
        return self.average.model

    @property
    def images_per_second(self) -> float:
        """Training images per second, averaged over the whole run."""
        return self.images / self.seconds

    def nonfinite(self) -> str | None:
        """The name of the first loss, weight or buffer that is not finite, or None.

        The largest magnitude of a tensor is finite only if all its numbers are. The device is
        read once.
        """
        named = {"loss": self.losses} | self.model.state_dict()
        named |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        named = {k: v for k, v in named.items() if v.is_floating_point() and v.numel()}
        largest = torch._foreach_norm([*named.values()], math.inf)
        finite = torch.stack([norm.double() for norm in largest]).isfinite().tolist()
        return next((name for name, good in zip(named, finite, strict=True) if not good), None)

    def sync_buffers(self) -> None:
        """Give all ranks the running statistics of rank 0; their other state is equal."""
        self.ranks.broadcast_buffers([*self.model.buffers(), *self.eval_model.buffers()])

    def save(self, folder: Path) -> None:
        """Write a checkpoint to `folder`; NonFiniteError if a number is not finite."""
        self.ranks.broadcast_result(checkpoint.save, folder, self._copy_to_save())

    def start_saving(self, writer: checkpoint.Writer) -> None:
        """Write a checkpoint beside training: rank 0 writes a copy of the state in a thread."""
        self.ranks.run_on_rank_zero(writer.start, self._copy_to_save())

    def _copy_to_save(self) -> dict[str, Any]:
        self.sync_buffers()
        if name := self.nonfinite():
            raise NonFiniteError(
                f"{name} is not finite {self.step} steps into epoch {self.epoch + 1}; "
                "no checkpoint was written, the one before is kept"
            )
        self.last_copy = self.copy()
        return self.last_copy

    def copy(self) -> dict[str, Any]:
        """The state of the run, copied to the memory of the computer."""
        return _on_cpu(self.state_dict())

    def resume(self, folder: Path) -> bool:
        """Load the newest checkpoint in `folder`, to train on; False if there is none."""
        found = self.ranks.broadcast_result(partial(self._resume, folder))
        self.ranks.broadcast_state(self.snapshot, self.restore)
        return found

    def load_weights(self, folder: Path) -> None:
        """Load the final weights of a finished run for evaluation; the run cannot go on from them.

        FileNotFoundError if `folder` has no weights, ValueError if they belong to another network.
        """
        path = folder / "weights.safetensors"
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no checkpoint and no {path.name} to be used")
        try:
            self.eval_model.load_state_dict(load_file(path, device=str(self.device)))
        except (RuntimeError, SafetensorError) as error:
            first, *more = str(error).split("\n")  # torch names the keys in the second line
            raise ValueError(f"{path}: {' '.join([first, *more[:1]])}") from error
        self.epoch = self.recipe.epochs

    def load_checkpoint(self, folder: Path) -> dict[str, Any] | None:
        """Load the newest checkpoint in `folder` and return its state; None if there is none."""
        state = checkpoint.load(folder, like=self.state_dict())
        if state is not None:
            self.load_state_dict(state)
        return state

    def _resume(self, folder: Path) -> bool:
        state = self.load_checkpoint(folder)
        if state is not None and self.device.type == "cpu" and self.epoch < self.recipe.epochs:
            checkpoint.compare_threads(folder, state)
        return state is not None

    def next_epoch(self) -> None:
        """Begin the next epoch: losses and hits are counted anew."""
        self.epoch, self.step = self.epoch + 1, 0
        self.losses = self.losses.new_empty(0)
        self.correct = torch.zeros_like(self.correct)
        self.scale.skipped.zero_()

    def snapshot(self) -> bytes:
        """The state of the run as bytes."""
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
    """A copy of nested dicts and lists of tensors, in memory of its own."""
    if isinstance(tree, Tensor):
        return tree.detach().to("cpu", copy=True)
    if isinstance(tree, dict):
        return type(tree)((key, _on_cpu(value)) for key, value in tree.items())
    return [_on_cpu(item) for item in tree] if isinstance(tree, list) else tree
