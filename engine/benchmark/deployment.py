"""Ways out of PyTorch: does a network survive each of them, and with equal numbers?"""

import warnings
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO

import torch
from torch import Tensor, fx, nn
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torch.utils._pytree import tree_leaves

from engine.errors import ConfigError, first_line
from engine.export import Exported, Onnx, TorchScript

EQUAL = 1e-3  # of the largest output: rounding, in another order of sums
LONGEST = 60  # characters of a reason

Network = Callable[[Tensor], Tensor]


def script(model: nn.Module, images: Tensor) -> Network:
    """The source of the network, compiled by TorchScript."""
    return torch.jit.script(model)


def trace(model: nn.Module, images: Tensor) -> Network:
    """One call of the network, recorded by TorchScript; saved and loaded."""
    form = TorchScript()
    return form.unpack(form.pack(model, images, {}), model)


def symbolic(model: nn.Module, images: Tensor) -> Network:
    """The graph of torch.fx, which quantization and feature extraction read."""
    return fx.symbolic_trace(model)


def exported(model: nn.Module, images: Tensor) -> Network:
    """torch.export with a batch of any size; saved and loaded."""
    form = Exported()
    return form.unpack(form.pack(model, images, {}), model)


def onnx(model: nn.Module, images: Tensor) -> Network:
    """ONNX with a batch of any size, computed by onnxruntime."""
    form = Onnx()
    return form.unpack(form.pack(model, images, {}), model)


def int8(model: nn.Module, images: Tensor) -> Network:
    """Weights and maps of 8 bits, calibrated on the images: torch.ao's FX graph mode."""
    prepared = prepare_fx(model, get_default_qconfig_mapping("x86"), (images,))
    prepared(images)
    return convert_fx(prepared)


WAYS: Mapping[str, Callable[[nn.Module, Tensor], Network]] = {
    "script": script,
    "trace": trace,
    "FX": symbolic,
    "export": exported,
    "ONNX": onnx,
    "int8": int8,
}


def outcome(way: str, model: nn.Module, images: Tensor) -> str:
    """`ok`, the relative difference of the outputs if they differ, or the reason of a failure.

    `images` (N, C, H, W); the way is also tried with half of them.
    """
    try:
        with (
            torch.no_grad(),
            warnings.catch_warnings(),
            redirect_stdout(StringIO()),  # torch's exporters print their progress
            redirect_stderr(StringIO()),
        ):
            warnings.simplefilter("ignore")  # and warn about themselves
            network = WAYS[way](model, images)
            differing = max(_difference(network, model, part) for part in (images, images[::2]))
    except ConfigError as error:
        return str(error)
    except Exception as error:  # each way raises errors of its own
        reason = f"{type(error).__name__}: {first_line(error)}"
        return reason if len(reason) <= LONGEST else f"{reason[: LONGEST - 1]}…"
    return "ok" if differing <= EQUAL else f"differs by {100 * differing:.1f} %"


def _difference(network: Network, model: nn.Module, images: Tensor) -> float:
    expected, found = (_first(function(images)) for function in (model, network))
    return ((found - expected).abs().max() / expected.abs().max()).item()


def _first(output: object) -> Tensor:
    """The logits; segmentation networks and backbones return a dict of maps."""
    return tree_leaves(output)[0]
