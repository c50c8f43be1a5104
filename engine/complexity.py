"""Count the cost of a network without running it."""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

REDUCTIONS = (  # counted by the elements they read; pointwise operations by the elements they write
    "amax", "avg_pool2d", "_adaptive_avg_pool2d", "linalg_vector_norm", "logsumexp", "max",
    "max_pool2d_with_indices", "mean", "native_batch_norm", "_native_batch_norm_legit_no_training",
    "native_group_norm", "native_layer_norm", "_softmax", "std", "sum", "var", "var_mean",
)  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """Learnable parameters; for one image in evaluation, multiply-accumulates and elements.

    `macs`, the papers' "FLOPs", are those of convolutions and matrix products. `elements` is the
    rest, of which the papers count some or nothing: one for each element that a pointwise operation
    writes or a reduction, a pooling or a normalisation reads.
    """

    params: int
    macs: int
    elements: int


def cost(model: nn.Module, image_size: int) -> Cost:
    """Count the cost on a copy without memory; `model` does not change."""
    shadow, image = on_meta(model, image_size)
    with FlopCounterMode(display=False) as flops, _Elements() as rest, torch.no_grad():
        shadow(image)
    return Cost(params(model), flops.get_total_flops() // 2, rest.elements)


def on_meta(model: nn.Module, image_size: int) -> tuple[nn.Module, Tensor]:
    """A copy of the network on the device `meta`, in evaluation mode, and one image for it."""
    shadow = copy.deepcopy(model).to("meta").eval()
    dtype = next((p.dtype for p in shadow.parameters() if p.is_floating_point()), None)
    return shadow, torch.empty(
        1, image_channels(model), image_size, image_size, dtype=dtype, device="meta"
    )


def image_channels(model: nn.Module) -> int:
    """The channels of the images that the first convolution takes; 3 without a convolution."""
    convs = (module for module in model.modules() if isinstance(module, nn.Conv2d))
    return next((conv.in_channels for conv in convs), 3)


def params(model: nn.Module) -> int:
    """The number of learnable parameters; running statistics do not count."""
    return sum(p.numel() for p in model.parameters())


class _Elements(TorchDispatchMode):
    """Count the operations that FlopCounterMode leaves out."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if torch.Tag.pointwise in func.tags:
            self.elements += _first(result).numel()
        elif func.overloadpacket.__name__ in REDUCTIONS:
            self.elements += _first(args).numel()
        return result


def _first(values: object) -> Tensor:
    return next(leaf for leaf in tree_leaves(values) if isinstance(leaf, Tensor))
