"""Mixup (Zhang et al., 2018) and CutMix (Yun et al., 2019) of a batch, on its device.

Each image is mixed with the one before it in the batch, whose order is random already. How much of
it is drawn on the CPU and known there, so that nothing waits for the device.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from engine.rng import fold_in

STREAM = 1  # apart from dropout's, which has the same seed


def mixed(
    images: Tensor, labels: Tensor, classes: int, mixup: float, cutmix: float, seed: int
) -> tuple[Tensor, Tensor]:
    """`images` (N, C, H, W) and their targets: soft labels (N, classes), or `labels` unmixed.

    `mixup` and `cutmix` are the α of Beta(α, α), 0 for never; with both, each batch has one of the
    two at even odds. All is a function of `seed`, which should be the step's.
    """
    if not mixup and not cutmix:
        return images, labels
    random = np.random.default_rng(abs(fold_in(seed, STREAM)))
    cut = random.random() < 0.5 if mixup and cutmix else bool(cutmix)
    alpha = cutmix if cut else mixup
    share = float(random.beta(alpha, alpha))  # of the image that is there already
    if cut:
        images, share = paste(images, share, *random.random(2))
    else:
        images = share * images + (1 - share) * images.roll(1, 0)
    soft = F.one_hot(labels, classes).float()
    return images, share * soft + (1 - share) * soft.roll(1, 0)


def paste(images: Tensor, share: float, y: float, x: float) -> tuple[Tensor, float]:
    """Put a box of the previous image into each image, its center at (y, x) in [0, 1)².

    The box is as wide and high as leaves `share` of the image, cut at the border: returned is what
    is left then.
    """
    height, width = images.shape[2:]
    side = math.sqrt(1 - share)
    top, bottom = _span(int(y * height), int(side * height), height)
    left, right = _span(int(x * width), int(side * width), width)
    inside = torch.zeros(height, width, dtype=torch.bool, device=images.device)
    inside[top:bottom, left:right] = True
    left_over = 1 - (bottom - top) * (right - left) / (height * width)
    return torch.where(inside, images.roll(1, 0), images), left_over


def _span(center: int, length: int, size: int) -> tuple[int, int]:
    return max(center - length // 2, 0), min(center + length // 2, size)
