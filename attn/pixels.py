"""What depends on the number of pixels of a map, written so that torch's tracers can follow."""

import torch
from torch import Tensor


def bessel(pixels: int | Tensor) -> int | Tensor:
    """n/(n − 1), the factor of a sample's variance over `pixels`, H·W; 1 for one pixel.

    `pixels` is a number, a symbol of torch.fx or torch.export, or a tensor in torch.jit.trace.
    """
    if isinstance(pixels, Tensor):
        return pixels / (pixels - 1).clamp_min(1)
    return pixels / torch.sym_max(pixels - 1, 1)


def check_size(x: Tensor, size: tuple[int, int], module: str) -> None:
    """ValueError unless `x` has the (H, W) that `module`, with one weight per pixel, was built for.

    A module that calls it says `torch.fx.wrap("check_size")`, so that torch.fx records the check;
    torch.jit.trace, whose sizes are tensors, leaves it out.
    """
    if torch.jit.is_tracing():
        return
    built = "x".join(map(str, size))
    if torch.compiler.is_exporting() and any(isinstance(n, torch.SymInt) for n in x.shape[2:]):
        raise ValueError(
            f"{module} has one weight per pixel of {built} maps: export the network with a fixed "
            "height and width"
        )
    if tuple(x.shape[2:]) != size:
        got = f"{x.shape[2]}x{x.shape[3]}"
        raise ValueError(
            f"{module} has one weight per pixel of {built} maps, and got a map of {got}: build "
            "the network for this image size"
        )
