"""Final weights from elsewhere are refused in one line: safetensors holds no code, but may lie."""

import json
import struct

import pytest
from safetensors.torch import save_file
from torch import nn
from torch.optim import SGD

from engine.training.recipe import Recipe
from engine.training.run import Run
from engine.training.schedule import Cosine

pytestmark = pytest.mark.fault("B5")


def headed(header, body):
    """A file of safetensors: the length of the header, the header, the numbers."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


def strangers(good):
    """(name, bytes of the file)."""
    (length,) = struct.unpack("<Q", good[:8])
    header, body = json.loads(good[8 : 8 + length]), good[8 + length :]

    def changed(**options):
        return headed(header | {"weight": header["weight"] | options}, body)

    yield "header of 2**63 bytes", struct.pack("<Q", 2**63) + good[8:]
    yield "header of 1 GB", struct.pack("<Q", 10**9) + good[8:]
    yield "empty", b""
    yield "cut", good[:-1]
    yield "cut in the header", good[: 8 + length // 2]
    yield "nested", headed(b"[" * 100_000, body)
    yield "no mapping", headed([1], body)
    yield "unknown type", changed(dtype="Q9")
    yield "negative shape", changed(shape=[-1, 3])
    yield "shape that overflows", changed(shape=[2**62, 2**62])
    yield "overlapping", changed(data_offsets=[0, 4])
    yield "beyond the end", changed(data_offsets=[0, 2**40])
    yield "lone surrogate", headed(json.dumps(header).replace("weight", "\\ud800").encode(), body)
    yield "no tensors", headed({"__metadata__": {}}, b"")
    yield "another key", headed({"bias": header["bias"], "other": header["weight"]}, body)
    yield "a page", b"<!DOCTYPE html><html></html>"


def test_weights_that_lie_are_refused(tmp_path, tally):
    recipe = Recipe(epochs=1, batch_size=4, lr=0.1, schedule=Cosine(), optimizer=SGD)
    run = Run(nn.Linear(3, 2), recipe, 0, "cpu", "fp32")
    path = tmp_path / "weights.safetensors"
    save_file(run.model.state_dict(), path)
    run.load_weights(tmp_path)
    before = {key: value.clone() for key, value in run.model.state_dict().items()}
    outcomes = []
    for _, content in strangers(path.read_bytes()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"weights\.safetensors: .{15}"):
            run.load_weights(tmp_path)
        outcomes.append(all(before[k].equal(v) for k, v in run.model.state_dict().items()))
    tally("B5", "final weights that lie: refused in one line", outcomes)
