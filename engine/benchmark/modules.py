"""Measure modules of a network alone, on maps of the shapes that they get in the network."""

import torch
from torch import nn

from engine.benchmark.timing import Workload
from engine.complexity import on_meta
from engine.training.run import PRECISIONS, Run

Shape = tuple[int, ...]


def shapes(
    model: nn.Module, kinds: type[nn.Module] | tuple[type[nn.Module], ...], image_size: int
) -> dict[str, Shape]:
    """Module name -> shape (C, H, W) of its input, for the modules of the classes `kinds`."""
    shadow, image = on_meta(model, image_size)
    found: dict[str, Shape] = {}
    for name, module in shadow.named_modules():
        if isinstance(module, kinds):
            module.register_forward_pre_hook(
                lambda _, args, name=name: found.update({name: tuple(args[0].shape[1:])})
            )
    with torch.no_grad():
        shadow(image)
    return found


def modules_alone(
    run: Run,
    shapes: dict[str, Shape],
    batch_size: int,
    memory_format: torch.memory_format,
) -> Workload:
    """The workload of these modules: forward and backward passes on random maps."""
    dtype = PRECISIONS[run.precision]
    modules = {name: run.model.get_submodule(name) for name in shapes}
    maps, slopes = (
        {
            shape: torch.randn(batch_size, *shape, device=run.device, dtype=dtype)
            .to(memory_format=memory_format)
            .requires_grad_(learns)
            for shape in set(shapes.values())
        }
        for learns in (True, False)
    )

    def train() -> None:
        for name, module in modules.items():
            x = maps[shapes[name]]
            with run.autocast():
                y = module.train()(x)
            inputs = [x, *(p for p in module.parameters() if p.requires_grad)]
            torch.autograd.grad(y, inputs, slopes[shapes[name]].to(y.dtype))

    @torch.inference_mode()
    def infer() -> None:
        for name, module in modules.items():
            with run.autocast():
                module.eval()(maps[shapes[name]])

    return Workload(train, infer, batch_size, run.device)
