"""Every mechanism of conf/attn, in a network, through each of torch's tracers: the same numbers."""

import copy
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor, nn

import attn
import conf
from models import Add, ResNet, Slots, conv3x3
from models.resnet import BasicBlock
from models.slots import composed

CONF = Path(conf.__file__).parent / "attn"
NAMES = sorted(file.stem for file in CONF.glob("*.yaml"))
SIZE = 8
PER_PIXEL = {"ge"}  # files whose mechanism has a weight for each pixel: maps of one size alone
DEPTHS = {"bam": (1, 1), "dia": (2,)}  # between two stages; from block to block
FREE_BATCH = {0: torch.export.Dim("batch", min=1, max=64)}
FREE = FREE_BATCH | {
    2: torch.export.Dim("h", min=4, max=512),
    3: torch.export.Dim("w", min=4, max=512),
}
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)


def images(n: int = 2, height: int = SIZE, width: int = SIZE) -> Tensor:
    return torch.randn(n, 3, height, width, generator=torch.Generator().manual_seed(n))


def randomized(model: nn.Module) -> nn.Module:
    """Parameters and running statistics away from their start: no gate is a constant."""
    generator = torch.Generator().manual_seed(2)
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            fan_in = value[0].numel() if value.dim() > 1 else 1  # maps keep their scale
            noise = 0.3 * fan_in**-0.5 * torch.randn(value.shape, generator=generator)
            value.add_(noise.abs() if name.endswith("running_var") else noise)
    return model.eval()


def network(name: str) -> nn.Module:
    """A network of few blocks with what conf/attn/NAME.yaml puts into the slots."""
    torch.manual_seed(0)
    chosen = OmegaConf.load(CONF / f"{name}.yaml")
    plain = {"sites": [], "fusion": Add, "conv": conv3x3, "norm": nn.BatchNorm2d}
    slots = Slots(epilogue=composed, **(plain | instantiate(chosen, _convert_="all")))
    depths = DEPTHS.get(name, (1,))
    widths, shape = [128] * len(depths), {"stem": "cifar", "image_size": SIZE, "num_classes": 5}
    return randomized(ResNet(BasicBlock, depths, widths, 1, 16, slots=slots, **shape))


def agrees(one: Tensor, other: Tensor, name: str) -> None:
    atol = 1e-5 * other.abs().max().item()
    torch.testing.assert_close(one, other, rtol=1e-4, atol=atol, msg=lambda m: f"{name}: {m}")


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def jit_trace(net: nn.Module, resizable: bool) -> Callable[[Tensor], Tensor]:
    return torch.jit.trace(net, images())


def fx_trace(net: nn.Module, resizable: bool) -> Callable[[Tensor], Tensor]:
    return torch.fx.symbolic_trace(net)


def export(net: nn.Module, resizable: bool) -> Callable[[Tensor], Tensor]:
    shapes = (FREE if resizable else FREE_BATCH,)
    return torch.export.export(net, (images(),), dynamic_shapes=shapes).module()


@pytest.mark.parametrize("trace", [jit_trace, fx_trace, export])
def test_a_trace_computes_what_the_network_computes(name: str, trace: Callable) -> None:
    net, resizable = network(name), name not in PER_PIXEL
    other_sizes = [(1, 12, 7)] if resizable else []
    with torch.no_grad():
        traced = trace(net, resizable)
        for shape in [(3, SIZE, SIZE), (1, SIZE, SIZE), *other_sizes]:
            x = images(*shape)
            agrees(traced(x), net(x), name)


PIXELS = {
    "GE's gather": lambda channels: attn.GE(channels, size=(6, 5)),
    "NAM's spatial gate": lambda channels: attn.NAM(channels, spatial=True, size=(6, 5)),
}


@pytest.mark.parametrize("owner", PIXELS)
def test_a_weight_per_pixel_is_not_traced_for_other_sizes(owner: str) -> None:
    module, x = PIXELS[owner](32).eval(), torch.randn(2, 32, 6, 5)
    free = {2: torch.export.Dim("h", min=4, max=512)}
    with pytest.raises(ValueError, match=f"{owner} has .*: export the network with a fixed height"):
        torch.export.export(module, (x,), dynamic_shapes=(free,))
    traced = torch.fx.symbolic_trace(module)
    with pytest.raises(ValueError, match=f"{owner} has .* 6x5 maps, and got a map of 6x6: build"):
        traced(torch.randn(2, 32, 6, 6))
    with torch.no_grad():
        assert torch.equal(traced(x), module(x))


def test_nam_is_traced_in_training_too() -> None:
    net = network("nam").train()
    traced = torch.fx.symbolic_trace(copy.deepcopy(net))
    assert torch.equal(traced(images()), net(images()))
    state = traced.state_dict()
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())


class Several(nn.Module):
    """The outputs of several networks for one batch of images."""

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def forward(self, x: Tensor) -> list[Tensor]:
        return [network(x) for network in self.networks]


# An export takes a second for each mechanism: a choice every day, all of them with the long tests.
EXPORTED = {
    "aff", "bam", "cbam", "eca", "gc", "nam", "psa", "se", "sem", "simam", "sk", "spa", "srm",
    "triplet",
}  # fmt: skip
if os.environ.get("ATTNBENCH_FAULTS") == "full":
    EXPORTED = set(NAMES) - PER_PIXEL


@pytest.mark.parametrize("names", [EXPORTED, PER_PIXEL], ids=["any size", "one size"])
def test_onnxruntime_computes_what_the_networks_compute(names: set[str], tmp_path: Path) -> None:
    """All files in one export, because each export costs a second before it begins."""
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    resizable, names = not names & PER_PIXEL, sorted(names)
    several, file = Several(map(network, names)).eval(), tmp_path / "several.onnx"
    shapes = (FREE if resizable else FREE_BATCH,)
    torch.onnx.export(several, (images(),), file, dynamo=True, dynamic_shapes=shapes)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    for shape in [(3, SIZE, SIZE), (1, 12, 7) if resizable else (1, SIZE, SIZE)]:
        x = images(*shape)
        with torch.no_grad():
            wanted = several(x)
        got = session.run(None, {session.get_inputs()[0].name: x.numpy()})
        for name, one, other in zip(names, got, wanted, strict=True):
            agrees(torch.from_numpy(one), other, name)
