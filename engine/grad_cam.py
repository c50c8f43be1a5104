"""Grad-CAM: where in an image lies what speaks for a class (Selvaraju et al., 2017),
https://arxiv.org/abs/1610.02391.
"""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engine.errors import ConfigError


def grad_cam(model: nn.Module, images: Tensor, layer: str, targets: Tensor) -> Tensor:
    """Heat maps (N, H, W) in [0, 1]: how much each place supports the class in `targets` (N,).

    A (N, K, h, w) being what the layer of that dotted name gives for `images` (N, 3, H, W), and y
    the logit of the class, `targets` (N,) int64:

        αₖ = mean over (h, w) of ∂y/∂Aₖ        L = ReLU(Σₖ αₖ⊙Aₖ)

    L is enlarged bilinearly to (H, W) and divided by its maximum, image by image; where nothing
    speaks for the class it is 0 everywhere. The model is asked in eval mode and left as it was.
    Of a layer that is called more than once, the last call counts.
    """
    with _evaluating(model), _maps_of(model, layer) as maps, torch.enable_grad():
        score = model(images).gather(1, targets[:, None]).sum()
        if not maps:
            raise ConfigError(f"layer={layer}: this network does not use it")
        (gradient,) = torch.autograd.grad(score, maps[-1:])
    alpha = gradient.to(images.dtype).mean((2, 3), keepdim=True)
    heat = (alpha * maps[-1].detach()).sum(1, keepdim=True).relu()
    heat = F.interpolate(heat, images.shape[2:], mode="bilinear")[:, 0]
    return heat / heat.amax((1, 2), keepdim=True).clamp_min(torch.finfo(heat.dtype).tiny)


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextmanager
def _maps_of(model: nn.Module, layer: str) -> Iterator[list[Tensor]]:
    """A context that records the outputs of `layer`; the graph of gradients begins there."""
    maps = []

    def begin(module: nn.Module, args: tuple, output: object) -> Tensor:
        if not isinstance(output, Tensor) or output.dim() != 4:
            raise ConfigError(f"layer={layer} gives no map (N, K, H, W); take an earlier one")
        maps.append(output.detach().requires_grad_())
        return maps[-1].clone()  # which a ReLU may overwrite

    handle = _find(model, layer).register_forward_hook(begin)
    try:
        yield maps
    finally:
        handle.remove()


def _find(model: nn.Module, layer: str) -> nn.Module:
    modules = dict(model.named_modules())
    if layer in modules:
        return modules[layer]
    near = difflib.get_close_matches(layer, modules, 3, 0.5)
    children = [name for name, _ in model.named_children()]
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(children)}"
    raise ConfigError(f"layer={layer}: there is no such module; {hint}")
