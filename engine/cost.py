"""What a network costs, counted without running it."""

import copy

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def params(model: nn.Module) -> int:
    """Learnable numbers; running statistics are not among them."""
    return sum(p.numel() for p in model.parameters())


def macs(model: nn.Module, image_size: int) -> int:
    """Multiply-accumulates of convolutions and matrix products for one image, in evaluation.

    The papers' "FLOPs". Element-wise work (normalisation, gates, sums, pooling) is not counted.
    """
    shadow = copy.deepcopy(model).to("meta").eval()
    image = torch.empty(1, 3, image_size, image_size, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        shadow(image)
    return counter.get_total_flops() // 2
