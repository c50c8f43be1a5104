"""The baked copy: attention as layers, which every tool of torch sees."""

import copy
from collections.abc import Callable
from itertools import product

import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.ao.quantization import fuse_modules, get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
from torch.fx.experimental.optimization import fuse
from torchvision.models.feature_extraction import create_feature_extractor

import attn
import models

SITES = ("inner", "branch", "identity", "post", "stage", "head")


def images(n: int = 2, size: int = 48) -> Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


def perturbed(model: nn.Module) -> nn.Module:
    """Away from the start, where gates are constants and a lost one may not be noticed."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.3 * p.std(correction=0) * torch.randn(p.shape, generator=generator))
    return model


def attached(*sites: str, name: str = "resnet18", factory: Callable = attn.SE) -> nn.Module:
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, num_classes=10).eval()
    for site in sites or ("branch",):
        attn.attach(model, factory, site)
    return perturbed(model)


@pytest.fixture
def net() -> nn.Module:
    return attached()


def agrees(one: Tensor, other: Tensor, atol: float = 1e-4) -> None:
    torch.testing.assert_close(one, other, rtol=1e-4, atol=atol * other.abs().max().item())


def test_numbers_and_weights_are_equal_and_the_network_stays_as_it_is() -> None:
    net = attached(*SITES)
    keys = list(net.state_dict())
    baked = attn.bake(net)
    with torch.no_grad():
        assert torch.equal(baked(images()), net(images()))
    assert list(net.state_dict()) == keys
    hooks = [hook for m in baked.modules() for hook in (*m._forward_hooks, *m._forward_pre_hooks)]
    assert hooks == []
    assert len(list(baked.parameters())) == len(list(net.parameters()))
    with torch.no_grad():
        baked.layer1[0].attention_post.fc2.bias.fill_(9)
        assert not torch.equal(baked(images()), net(images()))
    assert attn.detach(baked) == 0


def test_it_trains_as_the_network_does() -> None:
    net = attached(*SITES, factory=attn.CBAM).train()
    baked = attn.bake(net)
    for model in (net, baked):
        model(images()).square().sum().backward()
    gradients = [{key: p.grad for key, p in model.named_parameters()} for model in (net, baked)]
    renamed = attn.rename_keys(gradients[1], baked, net)
    assert all(torch.equal(renamed[key], grad) for key, grad in gradients[0].items())
    state = attn.rename_keys(baked.state_dict(), baked, net)
    assert all(torch.equal(state[key], value) for key, value in net.state_dict().items())


def test_a_block_that_is_the_whole_network_is_baked() -> None:
    block = attached().layer1[0]
    attn.attach(block, attn.ECA, "post")
    x = torch.randn(2, 64, 8, 8)
    with torch.no_grad():
        assert torch.equal(attn.bake(block)(x), block(x))


def test_without_attention_a_copy_is_made() -> None:
    net = models.resnet8(slots=models.Slots(attn.SE, ["branch"]), num_classes=10).eval()
    baked = attn.bake(net)
    assert baked is not net
    assert baked.state_dict().keys() == net.state_dict().keys()


# --- attention at `branch` vanished from the graphs of torch.fx, and no one said so ---


@pytest.mark.parametrize(
    "trace",
    [
        torch.fx.symbolic_trace,
        fuse,
        lambda net: prepare_fx(net, get_default_qconfig_mapping(), (images(),)),
        lambda net: create_feature_extractor(net, ["layer2"]),
    ],
    ids=["symbolic_trace", "fuse", "prepare_fx", "feature extraction"],
)
@pytest.mark.parametrize("site", ["branch", "post", "head"])
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
def test_fx_is_refused_before_and_sees_all_after(trace: Callable, site: str) -> None:
    net = attached(site)
    with pytest.raises(RuntimeError, match=r"torch.fx does not follow.*: trace attn.bake\(model\)"):
        trace(net)
    baked = attn.bake(net)
    traced = trace(baked)
    with torch.no_grad():
        got = traced(images())
        got = got["layer2"] if isinstance(got, dict) else got
        wanted = baked if got.dim() == 2 else nn.Sequential(*list(baked.children())[:6])
        agrees(got, wanted(images()))


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
@pytest.mark.parametrize("factory", [attn.SE, attn.CBAM])
def test_int8_keeps_the_attention(factory: Callable) -> None:
    """The quantized network is near the network with attention, and not the plain one."""
    net = attached(factory=factory)
    plain = copy.deepcopy(net)
    attn.detach(plain)
    prepared = prepare_fx(attn.bake(net), get_default_qconfig_mapping(), (images(),))
    with torch.no_grad():
        prepared(images(8))
        got, wanted = convert_fx(prepared)(images()), net(images())
        off, far = (got - wanted).norm(), (plain(images()) - wanted).norm()
    assert off < 0.3 * wanted.norm()
    assert off < 0.5 * far


def test_a_feature_extractor_has_the_attention_of_its_layers(net: nn.Module) -> None:
    extractor = create_feature_extractor(attn.bake(net), ["layer1"])
    keys = [key for key in extractor.state_dict() if "attention_branch" in key]
    assert len(keys) == 2 * 4
    assert extractor.train().get_submodule("layer1.0").bn2.attention_branch.training


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
def test_script_is_refused_with_a_sentence_before_and_works_after(net: nn.Module) -> None:
    with pytest.raises(Exception, match=r"torch.jit.script cannot.*: script attn.bake\(model\)"):
        torch.jit.script(net)
    with torch.no_grad():
        agrees(torch.jit.script(attn.bake(net))(images()), net(images()))


def test_a_replica_of_data_parallel_is_refused(net: nn.Module) -> None:
    replica = net.layer1[0]._replicate_for_data_parallel()
    with pytest.raises(RuntimeError, match=r"DataParallel does not.*: wrap attn.bake\(model\)"):
        replica(torch.randn(1, 64, 4, 4))
    attn.bake(net).layer1[0]._replicate_for_data_parallel()(torch.randn(1, 64, 4, 4))


# --- with a layer replaced, compiling and exporting lost the attention silently ---


def frozen(model: nn.Module) -> nn.Module:
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is nn.BatchNorm2d:
                norm = torchvision.ops.FrozenBatchNorm2d(child.num_features)
                norm.load_state_dict(child.state_dict(), strict=False)
                setattr(module, name, norm)
    return model


REPLACED = {"sync": nn.SyncBatchNorm.convert_sync_batchnorm, "frozen": frozen}
RUN = {
    "eager": lambda net: net,
    "compile": lambda net: torch.compile(net, backend="eager"),
    "one graph": lambda net: torch.compile(net, backend="eager", fullgraph=True),
    "export": lambda net: torch.export.export(net, (images(),)).module(),
    "strict export": lambda net: torch.export.export(net, (images(),), strict=True).module(),
    "trace": lambda net: torch.jit.trace(net, images()),
}


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("how", RUN)
@pytest.mark.parametrize("kind", REPLACED)
def test_a_replaced_layer_is_noticed_everywhere(net: nn.Module, kind: str, how: str) -> None:
    torch.compiler.reset()
    baked = REPLACED[kind](attn.bake(net))
    with torch.no_grad():
        agrees(RUN[how](baked)(images()), net(images()))
        net = REPLACED[kind](net)
        with pytest.raises(Exception, match="attention at branch was replaced after attach"):
            RUN[how](net)(images())
    with pytest.raises(RuntimeError, match="attention at branch was replaced after attach"):
        attn.bake(net)


@pytest.mark.parametrize("kept", [True, False])
def test_a_replaced_layer_is_noticed_though_somebody_keeps_it(net: nn.Module, kept: bool) -> None:
    old = net.layer1[0].bn2 if kept else None
    net.layer1[0].bn2 = nn.BatchNorm2d(64).eval()
    with pytest.raises(RuntimeError, match="attention at branch was replaced after attach"):
        net(images())
    assert old is None or old is not net.layer1[0].bn2


def test_a_replaced_head_outside_the_last_block_is_noticed() -> None:
    net = attached("head", name="mobilenet_v2")
    net.features[18] = copy.deepcopy(net.features[17])
    with pytest.raises(RuntimeError, match="attention at head was replaced after attach"):
        net(images())


# --- eager quantization fuses layers ---


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
@pytest.mark.parametrize("order", ["attach, fuse", "fuse, attach"])
@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenet_v2"])
@pytest.mark.parametrize("site", ["inner", "branch"])
def test_layers_fused_for_eager_quantization_keep_their_attention(
    order: str, name: str, site: str
) -> None:
    torch.manual_seed(0)
    net = getattr(torchvision.models.quantization, name)(num_classes=10).eval()
    plain = copy.deepcopy(net)
    if order == "attach, fuse":
        attn.attach(net, attn.Half, site)
        net.fuse_model()
        if site == "inner" and name != "mobilenet_v2":  # torch copies the hook, and its attention
            with pytest.raises(RuntimeError, match=r"fuse its layers.* and attach then, or bake"):
                net(images())
            return
    else:
        net.fuse_model()
        attn.attach(net, attn.Half, site)
    attn.attach(plain, attn.Half, site)
    with torch.no_grad():
        agrees(net(images()), plain(images()))
    attn.detach(net)
    attn.detach(plain)
    with torch.no_grad():
        agrees(net(images()), plain(images()))


QUANTIZABLE = torchvision.models.quantization


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
@pytest.mark.parametrize(
    ("name", "site"),
    [
        *product(["resnet18", "resnet50"], SITES),
        *product(["mobilenet_v2"], [site for site in SITES if site != "identity"]),
    ],
)
def test_fused_then_attached_then_baked(name: str, site: str) -> None:
    torch.manual_seed(0)
    net = getattr(QUANTIZABLE, name)(num_classes=10).eval()
    plain = copy.deepcopy(net)
    net.fuse_model()
    for model in (net, plain):
        attn.attach(model, attn.Half, site)
    with torch.no_grad():
        agrees(attn.bake(net)(images()), plain(images()))


@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"
)
def test_baked_then_fused_by_name() -> None:
    net = attached("inner", "branch", "identity")
    baked = attn.bake(net)
    names = [["conv1", "bn1", "relu"]]
    for block in (f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1)):
        names += [[f"{block}.conv1", f"{block}.bn1"]]
        names += [[f"{block}.conv2.layer", f"{block}.bn2.layer"]]
    names += [[f"layer{i}.0.downsample.layer.{j}" for j in (0, 1)] for i in (2, 3, 4)]
    fused = fuse_modules(baked, names)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fused.modules())
    with torch.no_grad():
        agrees(fused(images()), net(images()))


# --- gain ---


@pytest.mark.parametrize("site", SITES)
def test_a_gain_of_two_undoes_a_gate_of_a_half(site: str) -> None:
    torch.manual_seed(0)
    net = torchvision.models.resnet18(num_classes=10).eval()
    with torch.no_grad():
        plain = net(images())
        attn.attach(net, attn.Half, site)
        assert not torch.allclose(net(images()), plain)
        attn.detach(net)
        report = attn.attach(net, attn.Half, site, gain=2)
        agrees(net(images()), plain)
        agrees(attn.bake(net)(images()), plain)
    assert report.attention == "Half"


@pytest.mark.parametrize("gate", [attn.SE, attn.NAM, attn.ShuffleAttention, attn.CBAM])
def test_the_fused_epilogue_knows_the_gain(gate: Callable) -> None:
    options = {"groups": 4} if gate is attn.ShuffleAttention else {}
    made = []
    for epilogue in (models.slots.composed, attn.FusedEpilogue(elements=0, compiled=False)):
        torch.manual_seed(0)
        factory = attn.gained(lambda channels: gate(channels, **options), 1.5)
        slots = models.Slots(factory, ["branch"], epilogue=epilogue)
        net = models.resnet8(num_classes=10, slots=slots).double().train()
        net = net.to(memory_format=torch.channels_last)
        x = images(4, 16).double().contiguous(memory_format=torch.channels_last)
        out = net(x)
        out.square().sum().backward()
        made.append([out, *(p.grad for p in net.parameters())])
    torch.testing.assert_close(*made, rtol=1e-8, atol=1e-10)


def test_a_gained_factory_is_told_what_the_network_tells() -> None:
    told = []

    def factory(channels: int, stage: int, size: tuple[int, int]) -> nn.Module:
        told.append((channels, stage, size))
        return nn.Identity()

    slots = models.Slots(attn.gained(factory, 2.0), ["branch"])
    net = models.resnet8(num_classes=10, image_size=32, slots=slots)
    assert told == [(16, 1, (32, 32)), (32, 2, (16, 16)), (64, 3, (8, 8))]
    assert net.layer1[0].branch.gain == 2.0
    assert attn.gained(factory, 1) is factory


@pytest.mark.parametrize("gain", [0, -1, float("nan"), float("inf")])
def test_a_gain_that_is_no_factor_is_refused(gain: float) -> None:
    net = torchvision.models.resnet18()
    with pytest.raises(ValueError, match="gain must be a positive number, got"):
        attn.attach(net, attn.SE, gain=gain)
    assert attn.detach(net) == 0


# --- keys, from one way to hold attention to another ---


def held(how: str, name: str, site: str) -> nn.Module:
    torch.manual_seed(0)
    if how == "own":
        build = {"resnet18": models.resnet18, "mobilenet_v2": models.MobileNetV2}[name]
        return build(num_classes=10, slots=models.Slots(attn.CBAM, [site])).eval()
    net = torchvision.models.get_model(name, num_classes=10).eval()
    attn.attach(net, attn.CBAM, site)
    return net if how == "attached" else attn.bake(net)


@pytest.mark.parametrize("source", ["own", "attached", "baked"])
@pytest.mark.parametrize("target", ["own", "attached", "baked"])
@pytest.mark.parametrize(
    ("name", "site"),
    [("resnet18", "branch"), ("resnet18", "stage"), ("mobilenet_v2", "inner"),
     ("mobilenet_v2", "head")],
)  # fmt: skip
def test_keys_go_both_ways(source: str, target: str, name: str, site: str) -> None:
    one, other = perturbed(held(source, name, site)), held(target, name, site)
    other.load_state_dict(attn.rename_keys(one.state_dict(), one, other))
    with torch.no_grad():
        agrees(other(images()), one(images()))


def test_keys_without_a_counterpart_are_named() -> None:
    net, other = attached(), attached("inner")
    with pytest.raises(
        ValueError, match=r"layer1.0.attention_branch.fc1.weight has no counterpart"
    ):
        attn.rename_keys(net.state_dict(), net, other)
    with pytest.raises(ValueError, match=r"^fc9.weight is no key of the source, a ResNet"):
        attn.rename_keys({"fc9.weight": torch.zeros(1)}, net, other)
    part = {"layer1.0.attention_branch.fc1.weight": torch.zeros(1)}
    assert list(attn.rename_keys(part, net, attn.bake(net))) == [
        "layer1.0.bn2.attention_branch.fc1.weight"
    ]


def test_attention_with_a_gain_has_the_keys_of_attention_without() -> None:
    net, gained = attached(), torchvision.models.resnet18(num_classes=10)
    attn.attach(gained, attn.SE, gain=2)
    gained.load_state_dict(attn.rename_keys(net.state_dict(), net, gained))


@pytest.mark.parametrize("name", ["vgg11_bn", "densenet121", "googlenet"])
def test_networks_without_shortcuts_are_baked(name):
    model = torchvision.models.get_model(
        name, **({} if name == "densenet121" else {"init_weights": False})
    ).eval()
    for site in ("stage", "head"):
        attn.attach(model, attn.NAM, site)
    baked, images = attn.bake(model), torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        expected = model(images)
        assert torch.equal(baked(images), expected)
        assert torch.allclose(torch.fx.symbolic_trace(baked)(images), expected)
