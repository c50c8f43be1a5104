"""Trained networks as files for other programs, each with the facts that a program needs.

`facts` are values for JSON, such as the names of the classes. A file takes batches of any size.
"""

import io
import json
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from safetensors.torch import load, save
from torch import Tensor, nn
from torch.func import functional_call

from engine.errors import ConfigError

FACTS = "attnbench"  # the key of the facts in a file, and the name of a file in an archive
INPUT, OUTPUT = "images", "logits"
Facts = Mapping[str, Any]


class Format(Protocol):
    """A format of files: `pack` makes the bytes of a file, `unpack` gives the network in it."""

    suffix: str

    def pack(self, model: nn.Module, images: Tensor, facts: Facts) -> bytes:
        """The file of `model`, which takes batches like `images` (N, C, H, W)."""
        ...

    def unpack(self, content: bytes, model: nn.Module) -> Callable[[Tensor], Tensor]:
        """What the file computes; `model` is the network that a file of weights needs."""
        ...


class Onnx:
    """For onnxruntime and other programs without torch; metadata_props hold the facts."""

    suffix = ".onnx"

    def pack(self, model: nn.Module, images: Tensor, facts: Facts) -> bytes:
        _require("onnx", "onnxscript")
        program = torch.onnx.export(
            model, (images,), dynamo=True, verbose=False, input_names=[INPUT],
            output_names=[OUTPUT], dynamic_shapes=[{0: torch.export.Dim("batch")}],
        )  # fmt: skip
        proto = program.model_proto
        proto.metadata_props.add(key=FACTS, value=json.dumps(facts))
        return proto.SerializeToString()

    def unpack(self, content: bytes, model: nn.Module) -> Callable[[Tensor], Tensor]:
        _require("onnxruntime")
        import onnxruntime

        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
        return lambda images: torch.from_numpy(session.run(None, {INPUT: images.numpy()})[0])


class TorchScript:
    """For torch.jit.load, in Python and in C++; an extra file holds the facts."""

    suffix = ".pt"

    def pack(self, model: nn.Module, images: Tensor, facts: Facts) -> bytes:
        file = io.BytesIO()
        traced = torch.jit.trace(model, images)
        torch.jit.save(traced, file, _extra_files={f"{FACTS}.json": json.dumps(facts)})
        return file.getvalue()

    def unpack(self, content: bytes, model: nn.Module) -> Callable[[Tensor], Tensor]:
        return torch.jit.load(io.BytesIO(content), map_location="cpu")


class Exported:
    """For torch.export.load; an extra file holds the facts."""

    suffix = ".pt2"

    def pack(self, model: nn.Module, images: Tensor, facts: Facts) -> bytes:
        file = io.BytesIO()
        program = torch.export.export(
            model, (images,), dynamic_shapes=[{0: torch.export.Dim("batch")}]
        )
        torch.export.save(program, file, extra_files={f"{FACTS}.json": json.dumps(facts)})
        return file.getvalue()

    def unpack(self, content: bytes, model: nn.Module) -> Callable[[Tensor], Tensor]:
        return torch.export.load(io.BytesIO(content)).module()


class Weights:
    """The weights alone, which run no code; the header holds the facts."""

    suffix = ".safetensors"

    def pack(self, model: nn.Module, images: Tensor, facts: Facts) -> bytes:
        weights = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
        return save(weights, {FACTS: json.dumps(facts)})

    def unpack(self, content: bytes, model: nn.Module) -> Callable[[Tensor], Tensor]:
        weights = load(content)
        return lambda images: functional_call(model, weights, (images,), strict=True)


FORMATS: Mapping[str, Format] = {
    "onnx": Onnx(),
    "torchscript": TorchScript(),
    "exported": Exported(),
    "safetensors": Weights(),
}


def largest_difference(
    function: Callable[[Tensor], Tensor], model: nn.Module, images: Tensor
) -> tuple[float, float]:
    """The largest difference between the outputs, and the largest output of `model`."""
    with torch.no_grad():
        expected = model(images)
        found = function(images)
    return (found - expected).abs().max().item(), expected.abs().max().item()


def _require(*packages: str) -> None:
    for package in packages:
        try:
            __import__(package)
        except ImportError as error:
            raise ConfigError(
                f"format=onnx needs {package}: pip install onnx onnxscript onnxruntime"
            ) from error
