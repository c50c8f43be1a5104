"""The optimizer on its device: fused on CUDA, with a learning rate that a CUDA graph can read."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

FUSED = (SGD, Adam, AdamW)
MACHINE_OPTIONS = ("lr", "fused", "foreach", "capturable")  # set anew by each process


def make_on_device(
    make: Callable[..., Optimizer], groups: list[dict[str, Any]], lr: float
) -> Optimizer:
    """`make(groups, lr=lr)`; on CUDA, SGD, Adam and AdamW become one fused kernel.

    A fused optimizer never reads from the host: its learning rate is a tensor on the device. On a
    CPU the fused kernels do not give the bits of the plain ones, so they are not used.
    """
    device = groups[0]["params"][0].device
    kind = getattr(make, "func", make)
    if device.type != "cuda" or kind not in FUSED:
        optimizer = make(groups, lr=lr)
    else:
        options = {} if kind is SGD else {"capturable": True}
        optimizer = make(groups, lr=lr, fused=True, **options)
        for group in optimizer.param_groups:
            group["lr"] = torch.tensor(lr, device=device)
    optimizer.register_state_dict_post_hook(_without_device_tensors)
    optimizer.register_load_state_dict_pre_hook(_with_own_options)
    return optimizer


def is_fused(optimizer: Optimizer) -> bool:
    """Whether an update of `optimizer` never reads from the host."""
    return all(isinstance(group["lr"], Tensor) for group in optimizer.param_groups)


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Set the learning rate of all parameter groups, without waiting for the device.

    A group with a factor `lr_scale` gets its multiple of the rate.
    """
    for group in optimizer.param_groups:
        own = lr * group.get("lr_scale", 1.0)
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(own)
        else:
            group["lr"] = own


def _without_device_tensors(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """The state with learning rates as plain numbers, so that any device can load it."""
    groups = [group | {"lr": float(group["lr"])} for group in state["param_groups"]]
    return state | {"param_groups": groups}


def _with_own_options(optimizer: Optimizer, state: dict[str, Any]) -> dict[str, Any]:
    """The state with the machine options of `optimizer`; the state may come from another device."""
    groups = [
        saved | {name: own[name] for name in MACHINE_OPTIONS if name in own}
        for own, saved in zip(optimizer.param_groups, state["param_groups"], strict=True)
    ]
    return state | {"param_groups": groups}
