"""The fused epilogue gives the numbers of the modules one by one."""

import copy
from functools import partial
from itertools import product

import pytest
import torch
from torch import nn

import attn.fused.epilogue
from attn import CBAM, ECA, NAM, SE, SRM, FusedEpilogue, ShuffleAttention, Triplet
from attn.fused.contract import ClosedForm
from attn.fused.function import FusedEpilogueFunction
from attn.fused.kernels import EAGER, Passes, _opaque, compiled
from attn.fused.traced import INDUCTOR_OPTIONS
from models import MobileNetV2, ResNet, Slots
from models.resnet import Bottleneck
from models.slots import Add, BranchOnly, composed

SPATIAL = [partial(CBAM, reduction=4), Triplet, partial(Triplet, spatial=False)]
GATES = [NAM, SE, ECA, SRM, partial(ShuffleAttention, groups=4), *SPATIAL]
EAGERLY = FusedEpilogue(elements=0, compiled=False)
COMPILED_TAIL = FusedEpilogue(elements=0)


def image(*shape, seed=0, dtype=torch.double):
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.double)
    return values.to(dtype).contiguous(memory_format=torch.channels_last)


@pytest.fixture
def block(randomize):
    """Arguments of an epilogue: y (4, 16, 3, 5), norm, attention, fusion, shortcut, act."""

    def make(gate=SE, fusion=Add, act=nn.ReLU, dtype=torch.double, shape=(4, 16, 3, 5)):
        norm, attention = (randomize(m).to(dtype).train() for m in (nn.BatchNorm2d(16), gate(16)))
        y, shortcut = image(*shape, dtype=dtype), image(*shape, seed=1, dtype=dtype)
        return [y.requires_grad_(), norm, attention, fusion(16), shortcut.requires_grad_(), act()]

    return make


class Branch(BranchOnly):
    def __init__(self, channels):
        super().__init__()


def is_fused(out):
    """Whether the fused function ends the graph; SA's shuffle may follow it."""
    nodes = [out.grad_fn]
    while (
        nodes
        and nodes[-1] is not None
        and type(nodes[-1]).__name__ != "FusedEpilogueFunctionBackward"
    ):
        nodes.append(next((node for node, _ in reversed(nodes[-1].next_functions) if node), None))
    return nodes[-1] is not None


def doubled(arguments):
    """The same arguments in float64."""
    return [
        copy.deepcopy(a).double() if isinstance(a, nn.Module) else a.detach().double()
        for a in arguments
    ]


def trained(epilogue, arguments, dtype=None):
    """Output, gradients of maps and parameters, and running statistics after one step."""
    y, norm, attention, fusion, shortcut, act = copy.deepcopy(arguments)
    maps = [t.detach().to(dtype or t.dtype).requires_grad_() for t in (y, shortcut)]
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype is torch.bfloat16):
        out = epilogue(maps[0], norm, attention, fusion, maps[1], act)
    out.backward(image(*out.shape, seed=2, dtype=out.dtype))
    learned = [*norm.parameters(), *attention.parameters()]
    gradients = [t.grad for t in (*maps, *learned) if t.grad is not None]
    buffers = [b for m in (norm, attention) for b in m.buffers()]
    return out, [out.detach(), *gradients, *buffers]


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(("fusion", "act"), [(Add, nn.ReLU), (Add, nn.Identity), (Branch, nn.ReLU)])
def test_output_gradients_and_statistics_are_those_of_the_modules(block, gate, fusion, act):
    arguments = block(gate, fusion, act)
    out, ours = trained(EAGERLY, arguments)
    plain, theirs = trained(composed, arguments)
    assert is_fused(out)
    assert not is_fused(plain)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


class OneScale(nn.Module):
    """One parameter in the gate of the channels and in that of the pixels."""

    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), 0.7))

    def forward(self, x):
        branch = x * self.scale.sigmoid()[:, None, None]
        return branch * (self.scale.sum() * branch.mean(1, keepdim=True)).sigmoid()

    def closed_form(self):
        return ClosedForm(
            lambda x: (None, self.scale),
            pooled_axes=(3,),
            plane_gates=lambda pooled, conv: [(self.scale.sum() * pooled[0][:, 1:]).sigmoid()],
        )


def test_a_parameter_of_two_gates_gets_both_gradients(block):
    arguments = block(OneScale)
    out, ours = trained(EAGERLY, arguments)
    assert is_fused(out)
    torch.testing.assert_close(ours, trained(composed, arguments)[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("gate", SPATIAL)
def test_equal_maxima_share_the_gradient_as_in_the_modules(block, gate):
    arguments = block(gate)
    arguments[0].data = arguments[0].data.mul(2).round().div(2)
    arguments[1].weight.data[0].neg_()
    _, ours = trained(EAGERLY, arguments)
    _, theirs = trained(composed, arguments)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("gate", SPATIAL)
def test_a_norm_that_starts_at_zero_learns_finite_numbers(block, gate):
    arguments = block(gate)
    arguments[1].weight.data.zero_()
    out, ours = trained(EAGERLY, arguments)
    assert is_fused(out)
    torch.testing.assert_close(ours[:2], trained(composed, arguments)[1][:2])
    assert all(t.isfinite().all() for t in ours)


def test_a_mean_far_from_zero_costs_no_digits(block):
    arguments = block(NAM, dtype=torch.float)
    arguments[0].data += 1000
    _, ours = trained(EAGERLY, arguments)
    _, exact = trained(composed, doubled(arguments))
    torch.testing.assert_close(ours[0].double(), exact[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("gate", [NAM, SE, *SPATIAL[:2]])
def test_compiled_is_the_same_to_rounding_and_to_the_bit_the_second_time(block, gate, capsys):
    arguments = block(gate, dtype=torch.float)
    out, first = trained(COMPILED_TAIL, arguments)
    assert is_fused(out)
    torch.testing.assert_close(first, trained(EAGERLY, arguments)[1], rtol=1e-5, atol=1e-5)
    second = trained(COMPILED_TAIL, arguments)[1]
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize("gate", GATES)
def test_bf16_is_as_near_to_the_truth_as_the_modules(block, gate):
    arguments = block(gate, dtype=torch.float)
    for i in (0, 4):
        arguments[i].data = arguments[i].data.bfloat16().float()
    truth = trained(composed, doubled(arguments))[1]
    off = {}
    for epilogue in (EAGERLY, composed):
        values = trained(epilogue, arguments, torch.bfloat16)[1]
        assert values[0].dtype is torch.bfloat16
        off[epilogue is composed] = [
            (v - t).double().norm() for v, t in zip(values, truth, strict=True)
        ]
    for ours, theirs, exact in zip(off[False], off[True], truth, strict=True):
        luck = 1e-3 if exact.numel() > 1 else 1e-2  # one number may be exact by chance
        assert ours <= 1.5 * theirs + luck * exact.double().norm()


def network(gate, epilogue, sites=("branch",)):
    torch.manual_seed(0)
    slots = Slots(gate, list(sites), epilogue=epilogue)
    net = ResNet(
        Bottleneck, (1, 1), (8, 16), 4, 8, num_classes=10, stem="cifar", image_size=8, slots=slots
    )
    return net.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("gate", [NAM, SE, *SPATIAL[:2]])
def test_fifty_steps_lead_to_the_same_losses(gate):
    pixels = image(32, 3, 8, 8, dtype=torch.float)
    labels = torch.arange(32) % 10

    def losses(epilogue):
        net = network(gate, epilogue).train()
        optimizer = torch.optim.SGD(net.parameters(), lr=0.01, momentum=0.9)
        for _ in range(50):
            loss = nn.functional.cross_entropy(net(pixels), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            yield loss.item()

    ours, theirs = list(losses(EAGERLY)), list(losses(composed))
    assert ours[-1] < 0.9 * ours[0]
    assert ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("gate", GATES)
def test_keys_and_logits_of_a_network_stay(gate):
    ours, theirs = network(gate, EAGERLY), network(gate, composed)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    x = image(2, 3, 8, 8, dtype=torch.float)
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


def test_a_linear_bottleneck_without_shortcut_ends_fused(monkeypatch):
    ended = []
    apply = FusedEpilogueFunction.apply
    monkeypatch.setattr(FusedEpilogueFunction, "apply", lambda *a: ended.append(a[5]) or apply(*a))
    torch.manual_seed(0)
    ours = MobileNetV2(10, "cifar", 32, 0.25, slots=Slots(NAM, ["branch"], epilogue=EAGERLY))
    ours = ours.double().to(memory_format=torch.channels_last)
    theirs = copy.deepcopy(ours)
    for module in theirs.modules():
        if hasattr(module, "epilogue"):
            module.epilogue = composed
    x = image(2, 3, 32, 32)
    features = [net.features(x) for net in (ours, theirs)]
    torch.testing.assert_close(*features, rtol=1e-10, atol=1e-12)
    assert len(ended) == 17
    assert sum(shortcut is None for shortcut in ended) == 5


def change(index, of):
    """A function that replaces one argument of a block."""

    def changed(arguments):
        arguments[index] = of(arguments[index])

    return changed


def freeze_gate(arguments):
    arguments[2].channel.bn.eval()


def hook(index):
    return lambda arguments: arguments[index].register_forward_hook(lambda *_: None)


def watch_weight(arguments):
    arguments[1].weight.register_hook(lambda grad: None)


class OtherSum(nn.Module):
    def forward(self, shortcut, branch):
        return shortcut + branch


FALLBACKS = {
    "NCHW": change(0, lambda y: y.detach().contiguous().requires_grad_()),
    "NCHW shortcut": change(4, lambda y: y.detach().contiguous()),
    "another dtype": change(4, lambda y: y.float()),
    "meta": lambda arguments: arguments.__setitem__(slice(None), [a.to("meta") for a in arguments]),
    "evaluation": change(1, nn.Module.eval),
    "frozen gate": freeze_gate,
    "no affine": change(1, lambda bn: nn.BatchNorm2d(16, affine=False).double()),
    "no momentum": change(1, lambda bn: nn.BatchNorm2d(16, momentum=None).double()),
    "SyncBatchNorm": change(1, nn.SyncBatchNorm.convert_sync_batchnorm),
    "SyncBatchNorm in the gate": change(2, nn.SyncBatchNorm.convert_sync_batchnorm),
    "another norm": change(1, lambda bn: nn.InstanceNorm2d(16).double()),
    "bf16 parameters": change(2, lambda gate: gate.float()),
    "hooked norm": hook(1),
    "hooked gate": hook(2),
    "hooked sum": hook(3),
    "watched weight": watch_weight,
    "another fusion": change(3, lambda _: OtherSum()),
    "another activation": change(5, lambda _: nn.GELU()),
    "no attention": change(2, lambda _: nn.Identity()),
    "CBAM of another pool": change(2, lambda _: CBAM(16, 4, pools=["avg", "lse"]).double()),
    "CBAM the other way": change(2, lambda _: CBAM(16, 4, order="spatial-first").double()),
    "spatial NAM": change(2, lambda _: NAM(16, spatial=True, size=(3, 5)).double()),
}


@pytest.mark.parametrize("name", FALLBACKS)
def test_elsewhere_the_modules_run(block, name):
    arguments = block(NAM)
    FALLBACKS[name](arguments)
    assert not attn.fused.epilogue.applies(*arguments)


def test_control_without_changes_it_applies(block):
    assert attn.fused.epilogue.applies(*block(NAM))


def test_without_gradients_the_modules_run(block):
    with torch.no_grad():
        assert not attn.fused.epilogue.applies(*block(NAM))


def test_a_compiled_network_has_the_modules_in_its_one_graph(block):
    arguments = block(NAM)
    graphs = []

    def keep(graph, inputs):
        graphs.append(graph)
        return graph

    whole = torch.compile(lambda y: EAGERLY(y, *arguments[1:]), backend=keep, fullgraph=True)
    expected = composed(*copy.deepcopy(arguments))
    torch.testing.assert_close(whole(arguments[0]), expected, rtol=0, atol=0)
    assert len(graphs) == 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
@pytest.mark.parametrize("gate", [NAM, SE, SRM, *SPATIAL[:1]])
def test_a_compiled_network_may_have_the_region_in_its_one_graph(block, gate):
    arguments = block(gate)
    epilogue = FusedEpilogue(elements=0, compiled=False, traced=["cpu"])
    assert epilogue.inductor_options(arguments[2], "cpu") == INDUCTOR_OPTIONS
    torch.compiler.reset()
    _, ours = trained(torch.compile(epilogue, backend="aot_eager", fullgraph=True), arguments)
    _, theirs = trained(composed, arguments)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_only_a_region_in_a_compiled_network_needs_options():
    assert FusedEpilogue().inductor_options(SE(16), "cuda:1") == INDUCTOR_OPTIONS
    assert FusedEpilogue().inductor_options(SE(16), "cpu") == {}
    assert FusedEpilogue().inductor_options(nn.Identity(), "cuda") == {}


def test_transforms_of_torch_func_see_the_modules(block):
    y, seen = block()[0].detach(), []
    torch.func.grad(lambda y: seen.append(attn.fused.epilogue.is_traced()) or y.sum())(y)
    assert seen == [True]
    assert not attn.fused.epilogue.is_traced()


@pytest.mark.parametrize("epilogue", [FusedEpilogue(devices=[]), FusedEpilogue()])
def test_small_maps_and_other_devices_are_left_alone(block, epilogue):
    assert not is_fused(epilogue(*block()))


@pytest.mark.parametrize(("gate", "least"), [(SE, 960), (Triplet, 8 * 960)])
def test_how_small_a_map_is_left_alone_depends_on_the_gate(block, gate, least):
    assert not is_fused(FusedEpilogue(elements=least, compiled=False)(*block(gate)))
    assert is_fused(FusedEpilogue(elements=least - 8, compiled=False)(*block(gate)))


def test_frozen_parameters_get_no_gradient_and_change_no_other(block):
    arguments = block(NAM)
    arguments[1].weight.requires_grad_(False)
    arguments[2].channel.bn.requires_grad_(False)
    torch.testing.assert_close(
        trained(EAGERLY, arguments)[1], trained(composed, arguments)[1], rtol=1e-12, atol=1e-12
    )


def test_the_graph_can_be_kept_but_not_differentiated_twice(block):
    y, *rest = block()
    loss = EAGERLY(y, *rest).square().sum()
    first, second = (torch.autograd.grad(loss, y, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second)
    (twice,) = torch.autograd.grad(loss, y, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        twice.sum().backward()


@pytest.mark.parametrize("kind", [RuntimeError, PermissionError])
def test_without_a_compiler_the_modules_run_and_that_is_said_once(block, kind, monkeypatch, capsys):
    def broken(y):
        raise kind("InvalidCxxCompiler: no working C++ compiler\n...")

    monkeypatch.setattr(attn.fused.epilogue, "compiled", lambda: Passes(moments=broken))
    epilogue = FusedEpilogue(elements=0)
    for _ in range(2):
        assert not is_fused(epilogue(*block()))
    said = capsys.readouterr().err
    assert said.count("no compiler works here") == 1
    assert "InvalidCxxCompiler" in said


def test_a_damaged_file_of_the_compiler_is_an_error_and_no_reason_to_run_the_modules(
    block, monkeypatch
):
    def broken(y):
        raise RuntimeError("ImportError: /cache/main.so: file too short\n...")

    monkeypatch.setattr(attn.fused.epilogue, "compiled", lambda: Passes(moments=broken))
    epilogue = FusedEpilogue(elements=0)
    with pytest.raises(RuntimeError, match="file too short"):
        epilogue(*block())
    assert epilogue.works is None


def test_a_run_without_a_compiler_goes_on_without_one(block):
    """The last bits depend on the way; the way a run began is kept, whatever this machine can."""
    epilogue = FusedEpilogue(elements=0)
    epilogue.resume(False)
    assert not is_fused(epilogue(*block()))
    assert epilogue.works is False


def test_a_run_that_loses_its_compiler_is_told_what_that_means(block, monkeypatch, capsys):
    monkeypatch.setattr(attn.fused.epilogue, "compiles", lambda y: False)
    for worked, lines in ((True, 1), (None, 0)):
        epilogue = FusedEpilogue(elements=0)
        epilogue.resume(worked)
        epilogue(*block())
        assert capsys.readouterr().err.count("its last bits will differ") == lines


def test_a_compiler_that_a_signal_killed_is_called_again(monkeypatch):
    calls = []

    def compile_once_killed(function, **options):
        def fast(*arguments):
            calls.append(arguments)
            if len(calls) == 1:
                raise RuntimeError("CppCompileError: C++ compile error, died with SIGTERM")
            return function(*arguments)

        return fast

    def twice(y: torch.Tensor) -> torch.Tensor:
        return 2 * y

    monkeypatch.setattr(torch, "compile", compile_once_killed)
    assert _opaque(twice)(torch.ones(2)).tolist() == [2, 2]
    assert len(calls) == 2


def test_networks_of_every_kind_fit_into_one_process(block, capsys):
    """By default, Dynamo gives up a function with an error after eight kinds of calls."""
    epilogue = FusedEpilogue(elements=0)
    sizes = ((4, 3, 5), (1, 3, 5), (4, 1, 5), (4, 5, 5), (4, 4, 4), (16, 3, 3))
    for gate, act, (n, h, w) in product((NAM, SE), (nn.ReLU, nn.Identity), sizes):
        out, _ = trained(epilogue, block(gate, act=act, dtype=torch.float, shape=(n, 16, h, w)))
        assert is_fused(out)


@pytest.mark.parametrize("shape", [(2, 16, 3, 5), (2, 21, 4, 2)])
def test_the_passes_have_one_meaning(shape):
    """Each compiled pass equals the eager pass, with coefficients per batch and per image."""
    y, g = (image(*shape, seed=seed, dtype=torch.bfloat16) for seed in (0, 1))
    c, center, axes = shape[1], torch.ones(shape[1]), [1, 2, 3]
    torch.testing.assert_close(compiled().moments(y), EAGER.moments(y))
    sign = torch.ones(c).index_fill(0, torch.arange(0, c, 2), -1)
    peak = EAGER.peaks(y, sign)
    assert torch.equal(compiled().peaks(y, sign), peak)
    per_image = [torch.linspace(0.5, 1, 2 * c).view(2, c), torch.ones(2, c)]
    for coefficients in (per_image, [v[0] for v in per_image]):
        pools = EAGER.pools(y, center, coefficients, axes)
        torch.testing.assert_close(compiled().pools(y, center, coefficients, axes), pools)
        maxima = compiled().pools(y, center, coefficients, axes)[::2]
        totals = [p.gather(g, y, center, coefficients, axes, maxima) for p in (compiled(), EAGER)]
        torch.testing.assert_close(*totals)
        assert all((ties >= 1).all() for ties in totals[0][1::2])
        planes = [t for top in maxima for t in (top.sigmoid(), top, top.cos(), top.sin())]
        for arguments in ((coefficients, [], None), (coefficients, planes, peak)):
            totals = [p.sums(g, y, center, *arguments) for p in (compiled(), EAGER)]
            torch.testing.assert_close(*totals, rtol=1e-4, atol=1e-4)
