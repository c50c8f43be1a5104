"""Measure attention on a batch of images: how far gates open, and how SEM weighs its operators.

A backbone marks a module at a site by the attribute `attention_site`. A marked module is a gate if
the module scales its map: the sign of each element stays, and 0 stays 0. Modules that add to the
map (GC) or mix its channels (shuffle) are no gates. A module that weighs operators, as SEM does,
has a method `decisions(x) -> {operator: weights (N,)}`.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from statistics import fmean

import torch
from torch import Tensor, nn

from engine.datasets.in_memory import Images
from engine.training.loop import EVALUATION_BATCH
from engine.training.run import Run
from engine.transforms.batch import Identity
from engine.transforms.normalize import Normalize

CELL = (12, 48)  # height and width in pixels of one weight in the picture


@dataclass
class GateStatistics:
    """Measurements of one forward pass, of modules with one map in and a map of its shape out.

    `gates`: size of the map, such as "32x32" (a stage has one size) -> the factors of every image
    and channel. `decisions`: (size, name of the module), in the network's order -> the weight of
    each operator, averaged over the images.
    """

    gates: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    decisions: dict[tuple[str, str], dict[str, float]] = field(default_factory=dict)

    def note(self, name: str, module: nn.Module, args: tuple, output: object) -> None:
        """The forward hook of the module `name`."""
        shape = _map(output)
        if shape is None or [_map(x) for x in args] != [shape]:
            return
        (x,), size = args, "x".join(map(str, shape[2:]))
        if is_scaled(x, output):
            self.gates[size].append(effective(x, output))
        if hasattr(module, "decisions"):
            weights: Mapping[str, Tensor] = module.decisions(x)
            means = {operator: weight.mean().item() for operator, weight in weights.items()}
            self.decisions[size, name] = means

    def scalars(self) -> dict[str, float]:
        """For each stage: mean and deviation of the gates, mean weight of each operator."""
        scalars = {}
        for size, parts in self.gates.items():
            gates = torch.cat(parts)
            scalars[f"gate/{size}/mean"] = gates.mean().item()
            scalars[f"gate/{size}/std"] = gates.std(correction=0).item()
        weights = defaultdict(list)
        for (size, _), operators in self.decisions.items():
            for operator, weight in operators.items():
                weights[f"decision/{operator}/{size}"].append(weight)
        return scalars | {name: fmean(of_layers) for name, of_layers in weights.items()}

    def pictures(self) -> dict[str, Tensor]:
        """The decisions as a picture (3, H, W) in [0, 1]: a row a layer, a column an operator.

        Blue: a weight up to 0.25; white: 0.5; red: 0.75 or more. The name lists the operators.
        """
        if not self.decisions:
            return {}
        operators = ", ".join(next(iter(self.decisions.values())))
        weights = torch.tensor([list(of.values()) for of in self.decisions.values()])
        tint = (4 * weights - 2).clamp(-1, 1)
        colors = torch.stack([1 + tint.clamp(max=0), 1 - tint.abs(), 1 - tint.clamp(min=0)])
        high, wide = CELL
        picture = colors.repeat_interleave(high, 1).repeat_interleave(wide, 2)
        return {f"decision/layer by layer: {operators}": picture}


@torch.inference_mode()
def measure_gates(run: Run, images: Images, normalize: Normalize) -> GateStatistics:
    """Measure the attention of the network of `run` on the first evaluation batch of `images`."""
    seen, found = GateStatistics(), dict(modules(run.eval_model))
    if not found:
        return seen
    run.eval_model.eval()
    first = torch.arange(min(EVALUATION_BATCH, len(images)), device=run.device)
    with ExitStack() as hooks, run.autocast():
        for name, module in found.items():
            handle = module.register_forward_hook(partial(seen.note, name))
            hooks.callback(handle.remove)
        for pixels, _ in images.batches([first], Identity(), run.seeds.augment, run.epoch):
            run.eval_model(normalize(pixels))
    return seen


def modules(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """The marked modules and their names, without marked modules inside another one."""
    for name, child in model.named_children():
        if hasattr(child, "attention_site"):
            yield prefix + name, child
        else:
            yield from modules(child, f"{prefix}{name}.")


def is_scaled(x: Tensor, y: Tensor) -> bool:
    """Whether y is x times factors of 0 or more."""
    return bool(((x.sign() == y.sign()) | (y == 0)).all())


def effective(x: Tensor, y: Tensor) -> Tensor:
    """The factors <x, y>/<x, x> of the images and channels with a map that is not all 0, flat.

    The factor is the least-squares fit of y = factor·x: a gate of one number for the map is the
    factor itself, and a gate for each pixel gives its mean weighted by x².
    """
    wide = torch.promote_types(x.dtype, torch.float32)
    x, y = x.to(wide), y.to(wide)
    energy = x.square().sum((2, 3))
    return ((x * y).sum((2, 3)) / energy)[energy > 0]


def _map(value: object) -> tuple[int, ...] | None:
    """The shape (N, C, H, W) of a map; None for another value."""
    is_map = isinstance(value, Tensor) and value.dim() == 4
    return tuple(value.shape) if is_map else None
