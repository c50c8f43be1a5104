"""A run: everything that training changes, and exactly what a checkpoint holds."""

import io
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from engine.complexity import params
from engine.distributed.ranks import SINGLE_PROCESS, Ranks
from engine.errors import ConfigError, NonFiniteError, as_config_error
from engine.storage import checkpoint
from engine.training.compile import compiled
from engine.training.recipe import Recipe, penalized

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16}


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
        if precision not in PRECISIONS:
            raise ConfigError(f"precision={precision}: choose from {', '.join(PRECISIONS)}")
        if recipe.sparsity and not any(penalized(model)):
            raise ConfigError(
                f"recipe.sparsity={recipe.sparsity}: this network has nothing it acts on"
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
        self.ranks = ranks
        self.epoch = 0
        self.step = 0
        self.seconds = 0.0  # of the epochs, and parts of epochs, that were trained to the end,
        self.images = 0  # and the images trained on in that time
        self.losses: list[torch.Tensor] = []  # of the steps of this epoch
        self.correct = torch.zeros(2, dtype=torch.int64, device=device)  # top-1, top-5, this epoch

    def __str__(self) -> str:
        where = (
            f"{self.ranks.world_size} x {self.device.type}"
            if self.ranks.world_size > 1
            else self.device
        )
        return f"{params(self.model):,} parameters, {self.precision} on {where}"

    def autocast(self) -> torch.autocast:
        """Where the forward pass happens: bf16 in the operations that torch deems safe for it."""
        dtype = PRECISIONS[self.precision]
        return torch.autocast(self.device.type, dtype, enabled=dtype is not torch.float32)

    def seed_dropout(self, seed: int) -> None:
        """Begin anew all randomness inside the network.

        On a CPU only the CPU's: where a GPU could be but is not used, torch.manual_seed formats a
        stack trace, each time, to tell it should the GPU fail later.
        """
        begin = torch.default_generator if self.device.type == "cpu" else torch
        begin.manual_seed(seed)

    @property
    def eval_model(self) -> nn.Module:
        """The network that is measured and kept: the trained one, or the average of its weights."""
        return self.average.model

    @property
    def images_per_second(self) -> float:
        """Of training, over all of it so far."""
        return self.images / self.seconds

    def nonfinite(self) -> str | None:
        """The first of the losses, weights and buffers that is not finite; None if all are."""
        named = {"loss": torch.stack(self.losses)} if self.losses else {}
        named |= self.model.state_dict()
        named |= {f"average.{name}": value for name, value in self.average.state_dict().items()}
        finite = torch.stack([tensor.isfinite().all() for tensor in named.values()]).tolist()
        return next((name for name, good in zip(named, finite, strict=True) if not good), None)

    def sync_buffers(self) -> None:
        """Have all ranks go on with rank 0's running statistics, in all else they are equal."""
        self.ranks.broadcast_buffers([*self.model.buffers(), *self.eval_model.buffers()])

    def save(self, folder: Path) -> None:
        """Make this the newest checkpoint in `folder`; NonFiniteError if a number in it is none."""
        self.sync_buffers()
        if name := self.nonfinite():
            raise NonFiniteError(
                f"{name} is not finite {self.step} steps into epoch {self.epoch + 1}; "
                "not saved, the checkpoint before it is kept"
            )
        self.ranks.broadcast_result(checkpoint.save, folder, self.state_dict())

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
        self.epoch, self.step, self.losses = self.epoch + 1, 0, []
        self.correct = torch.zeros_like(self.correct)

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.state_dict(),
            "epoch": self.epoch,
            "step": self.step,
            "seconds": self.seconds,
            "images": self.images,
            "losses": torch.stack(self.losses).cpu() if self.losses else torch.empty(0),
            "correct": self.correct,
        }

    def snapshot(self) -> bytes:
        """The state as a checkpoint would hold it, in the computer's memory."""
        file = io.BytesIO()
        torch.save(self.state_dict(), file)
        return file.getvalue()

    def restore(self, snapshot: bytes) -> None:
        self.load_state_dict(torch.load(io.BytesIO(snapshot), "cpu", weights_only=True))

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.average.load_state_dict(state["average"])
        self.epoch, self.step = state["epoch"], state["step"]
        self.seconds, self.images = state["seconds"], state["images"]
        self.losses = list(state["losses"].to(self.device))
        self.correct = state["correct"].to(self.device)
