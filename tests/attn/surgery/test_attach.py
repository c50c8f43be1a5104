"""Attention inserted into other people's networks."""

import copy
import io
import re
from collections.abc import Callable, Iterator
from functools import cache

import pytest
import torch
import torchvision
from torch import Tensor, nn

import attn
import models
from attn.surgery.attach import SITES, Report, attach, detach


def reach(blocks: int, *sites: str) -> dict[str, int]:
    """The number of places per site of a network whose blocks all have `sites`."""
    return {**dict.fromkeys(sites, blocks), "post": blocks, "stage": 3, "head": 1}


RESIDUAL = ("inner", "branch", "identity")
MOBILE = ("inner", "branch")
TORCHVISION = {
    "resnet18": reach(8, *RESIDUAL),
    "resnet50": reach(16, *RESIDUAL),
    "resnext50_32x4d": reach(16, *RESIDUAL),
    "wide_resnet50_2": reach(16, *RESIDUAL),
    "regnet_x_400mf": reach(22, *RESIDUAL),
    "regnet_y_400mf": reach(16, *RESIDUAL),
    "mobilenet_v2": reach(17, *MOBILE),
    "mobilenet_v3_small": reach(11, *MOBILE),
    "mobilenet_v3_large": reach(15, *MOBILE),
    "efficientnet_b0": reach(16, *MOBILE),
    "efficientnet_v2_s": reach(40, *MOBILE),
    "convnext_tiny": reach(18, "branch"),
    "densenet121": reach(58, *MOBILE),
    "googlenet": reach(9, "branch") | {"stage": 2},
    "inception_v3": reach(11, "branch") | {"stage": 2},
    "mnasnet0_5": reach(16, *MOBILE),
    "shufflenet_v2_x0_5": reach(16, *MOBILE) | {"stage": 2},
    "squeezenet1_1": {"branch": 8, "post": 8, "head": 1},
    "vgg11_bn": {"stage": 4, "head": 1},
}
OPTIONS = {name: {"init_weights": False} for name in ("googlenet", "inception_v3", "vgg11_bn")}
SMALLEST = {"inception_v3": 96}  # pixels
TIMM = {
    "resnet18": reach(8, *RESIDUAL),
    "seresnet50": reach(16, *RESIDUAL),
    "resnext50_32x4d": reach(16, *RESIDUAL),
    "regnetx_002": reach(13, *RESIDUAL),
    "regnety_002": reach(13, *RESIDUAL),
    "regnetz_005": reach(21, *MOBILE),
    "mobilenetv1_100": reach(13, *MOBILE),
    "mobilenetv2_100": reach(17, *MOBILE),
    "mobilenetv3_large_100": reach(15, *MOBILE),
    "mobilenetv4_conv_small": reach(12, *MOBILE),
    "efficientnet_b0": reach(16, *MOBILE),
    "efficientnet_es": reach(18, *MOBILE),
    "convnext_atto": reach(12, "branch", "identity"),
    "resnest14d": reach(4, *RESIDUAL),
    "res2net50_26w_4s": reach(16, *RESIDUAL),
    "skresnet18": reach(8, *RESIDUAL),
    "cspresnet50": reach(13, *MOBILE),
    "cspdarknet53": reach(23, *MOBILE) | {"stage": 4},
    "dla34": {"inner": 12, "branch": 12, "post": 12, "head": 1},
}
NETWORKS = [("torchvision", name) for name in TORCHVISION] + [("timm", name) for name in TIMM]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small maps are faster on one thread, and much faster on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@cache
def build(library: str, name: str) -> nn.Module:
    torch.manual_seed(0)
    if library == "torchvision":
        return torchvision.models.get_model(name, **OPTIONS.get(name, {})).eval()
    return pytest.importorskip("timm").create_model(name, pretrained=False).eval()


@pytest.fixture
def resnet() -> Iterator[nn.Module]:
    model = build("torchvision", "resnet18")
    yield model
    detach(model)
    model.eval()


@cache
def images(size: int = 64) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))


def logits(model: nn.Module, size: int = 64) -> Tensor:
    with torch.inference_mode():
        return model(images(size))


def inserted(model: nn.Module, report: Report) -> list[nn.Module]:
    return [model.get_submodule(row.name) for row in report.rows]


class Same(nn.Module):
    """The identity; it accepts only maps of the announced channels and size."""

    def __init__(self, channels: int, size: tuple[int, int]) -> None:
        super().__init__()
        self.shape = (channels, *size)
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        assert tuple(x.shape[1:]) == self.shape
        return x


class Record(nn.Module):
    """The identity; it notes the largest absolute value of its inputs."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.largest = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.largest = max(self.largest, x.abs().max().item())
        return x


@pytest.mark.parametrize(("library", "name"), NETWORKS)
def test_every_site_of_every_family(library: str, name: str) -> None:
    model = build(library, name)
    counts = {"torchvision": TORCHVISION, "timm": TIMM}[library][name]
    size = SMALLEST.get(name, 64)
    plain, keys, text = logits(model, size), list(model.state_dict()), repr(model)
    for site, count in counts.items():
        report = attach(model, Same, site, image_size=size)
        assert len(report) == count == len(set(inserted(model, report))) == report.params
    assert torch.equal(logits(model, size), plain)
    assert [key for key in model.state_dict() if "attention_" not in key] == keys
    assert detach(model) == sum(counts.values())
    assert torch.equal(logits(model, size), plain)
    assert list(model.state_dict()) == keys
    assert repr(model) == text
    for site in set(SITES) - set(counts):
        with pytest.raises(
            ValueError,
            match=rf"has no {site}: it has|has no layer downsample|tell where|in stages \[1\]"
            rf"|has no {site}, because it has no blocks: .* blocks=\{{nn.Conv2d",
        ):
            attach(model, nn.Identity, site)
    assert detach(model) == 0


@pytest.mark.parametrize(
    ("library", "name", "block"),
    [
        ("torchvision", "resnet18", "layer1.1"),
        ("torchvision", "resnet50", "layer1.1"),
        ("torchvision", "regnet_y_400mf", "trunk_output.block3.block3-1"),
        ("torchvision", "mobilenet_v2", "features.3"),
        ("torchvision", "mobilenet_v3_large", "features.1"),
        ("torchvision", "efficientnet_b0", "features.2.1"),
        ("torchvision", "efficientnet_v2_s", "features.1.0"),
        ("torchvision", "convnext_tiny", "features.1.0"),
        ("timm", "seresnet50", "layer1.1"),
        ("timm", "regnety_002", "s3.b2"),
        ("timm", "regnetz_005", "s2.b2"),
        ("timm", "mobilenetv3_large_100", "blocks.0.0"),
        ("timm", "mobilenetv4_conv_small", "blocks.2.1"),
        ("timm", "efficientnet_b0", "blocks.1.1"),
        ("timm", "efficientnet_es", "blocks.1.1"),
        ("timm", "convnext_atto", "stages.0.blocks.0"),
    ],
)
def test_nothing_but_the_branch_is_added_to_the_shortcut(
    library: str, name: str, block: str
) -> None:
    model = build(library, name)
    report = attach(model, lambda channels: nn.Threshold(torch.inf, 0))
    channels = {row.name: row.channels for row in report.rows}[f"{block}.attention_branch"]
    x = torch.rand(2, channels, 8, 8)
    with torch.inference_mode():
        assert torch.equal(model.get_submodule(block)(x.clone()), x)
    detach(model)


@pytest.mark.parametrize("name", ["efficientnet_b0", "convnext_tiny"])
def test_branch_comes_before_stochastic_depth(name: str) -> None:
    model = copy.deepcopy(build("torchvision", name)).train()
    report = attach(model, Record)
    for module in model.modules():
        if isinstance(module, torchvision.ops.StochasticDepth):
            module.p = 1.0
    with torch.no_grad():
        model(images())
    assert all(module.largest > 0 for module in inserted(model, report))


@pytest.mark.parametrize(
    ("name", "factory", "site", "params"),
    [
        ("resnet50", attn.NAM, "branch", 25_587_240),
        ("resnet50", attn.CBAM, "branch", 28_089_624),
        ("resnet50", attn.Triplet, "branch", 25_561_832),
        ("resnet50", attn.BAM, "stage", 25_915_099),
        ("mobilenet_v2", attn.NAM, "branch", 3_507_880),
    ],
)
def test_published_parameter_counts(name: str, factory: type, site: str, params: int) -> None:
    model = build("torchvision", name)
    plain = sum(p.numel() for p in model.parameters())
    report = attach(model, factory, site)
    assert sum(p.numel() for p in model.parameters()) == params == plain + report.params
    detach(model)


def ours_like(theirs: nn.Module, ours: nn.Module, report: Report, factory: type) -> nn.Module:
    """`ours` with the weights of `theirs`; attention modules are matched by order."""
    backbone = {k: v for k, v in theirs.state_dict().items() if "attention_" not in k}
    assert not ours.load_state_dict(backbone, strict=False).unexpected_keys
    mine = [module for module in ours.modules() if isinstance(module, factory)]
    for module, other in zip(mine, inserted(theirs, report), strict=True):
        module.load_state_dict(other.state_dict())
    return ours.eval()


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("factory", [attn.SE, attn.ECA])
def test_same_as_our_resnet50(factory: type, site: str) -> None:
    theirs = build("torchvision", "resnet50")
    report = attach(theirs, factory, site)
    slots = models.Slots(attn=factory, sites=[site])
    ours = ours_like(theirs, models.resnet50(slots=slots), report, factory)
    torch.testing.assert_close(logits(theirs), logits(ours))
    detach(theirs)


@pytest.mark.parametrize("site", ["inner", "branch", "post", "stage", "head"])
def test_same_as_our_mobilenet_v2(site: str) -> None:
    theirs = build("torchvision", "mobilenet_v2")
    report = attach(theirs, attn.ECA, site)
    slots = models.Slots(attn=attn.ECA, sites=[site])
    ours = ours_like(theirs, models.MobileNetV2(slots=slots), report, attn.ECA)
    torch.testing.assert_close(logits(theirs), logits(ours))
    detach(theirs)


def test_stages_of_mobilenet_v2_are_ours() -> None:
    theirs, ours = build("torchvision", "mobilenet_v2"), []
    report = attach(theirs, nn.Identity)

    def note(channels: int, stage: int) -> nn.Module:
        ours.append((stage, channels))
        return nn.Identity()

    models.MobileNetV2(slots=models.Slots(attn=note, sites=["branch"]))
    assert [(row.stage, row.channels) for row in report.rows] == ours
    detach(theirs)


@pytest.mark.parametrize(
    ("name", "site", "place"),
    [
        ("seresnet50", "branch", "after layer4.2.se"),  # after the network's own attention
        ("mobilenetv3_large_100", "head", "after blocks.6.0"),  # conv_head comes after the pool
    ],
)
def test_places_in_timm(name: str, site: str, place: str) -> None:
    model = build("timm", name)
    assert attach(model, nn.Identity, site).rows[-1].place == place
    detach(model)


SEGMENTATION, DETECTION = torchvision.models.segmentation, torchvision.models.detection


def untrained(build: Callable[..., nn.Module], **options: object) -> nn.Module:
    with torch.device("meta"):
        return build(weights=None, weights_backbone=None, **options).eval()


@pytest.mark.parametrize(
    ("build", "options", "place", "channels"),
    [
        (SEGMENTATION.fcn_resnet50, {}, "backbone.layer4.2", 2048),
        (SEGMENTATION.fcn_resnet50, {"aux_loss": True}, "backbone.layer4.2", 2048),
        (SEGMENTATION.deeplabv3_mobilenet_v3_large, {}, "backbone.16", 960),
        (SEGMENTATION.lraspp_mobilenet_v3_large, {}, "backbone.16", 960),
        (DETECTION.retinanet_resnet50_fpn, {}, "backbone.body.layer4.2", 2048),
        (DETECTION.fcos_resnet50_fpn, {}, "backbone.body.layer4.2", 2048),
        (DETECTION.fasterrcnn_resnet50_fpn, {}, "backbone.body.layer4.2", 2048),
        (DETECTION.ssdlite320_mobilenet_v3_large, {}, "backbone.features.1.3", 480),
    ],
)
def test_the_head_is_the_last_map_of_the_backbone(
    build: Callable[..., nn.Module], options: dict, place: str, channels: int
) -> None:
    model = untrained(build, **options)
    row = attach(model, nn.Identity, "head").rows[0]
    assert (row.place, row.channels, row.stage) == (f"after {place}", channels, 4)


def test_the_head_is_after_a_convolution_that_follows_the_features() -> None:
    net = nn.Module()
    net.features = nn.Sequential(nn.Conv2d(3, 8, 3), Mine(8), Mine(8))
    net.last = nn.Conv2d(8, 24, 1)
    net.fc = nn.Linear(24, 10)
    report = attach(net, nn.Identity, "head", blocks={Mine: MINE})
    assert (report.rows[0].place, report.rows[0].channels) == ("after last", 24)


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("vgg11_bn", "before features.28"),  # the last pooling layer
        ("densenet121", "after features.norm5"),
        ("googlenet", "after inception5b"),
        ("inception_v3", "after Mixed_7c"),
    ],
)
def test_the_head_of_a_network_without_a_shortcut(name: str, place: str) -> None:
    model = build("torchvision", name)
    assert attach(model, nn.Identity, "head").rows[0].place == place
    detach(model)


@pytest.mark.parametrize(("name", "block"), [("googlenet", "inception5b"), ("inception_v3", "Mix")])
def test_an_auxiliary_classifier_does_not_take_the_head(name: str, block: str) -> None:
    model = build("torchvision", name)
    layer = type(next(m for m in model.modules() if type(m).__name__ == "BasicConv2d"))
    report = attach(model, nn.Identity, "head", blocks={layer: {"branch": "bn"}})
    assert report.rows[0].place.startswith(f"after {block}")
    detach(model)


def test_the_map_of_a_stage_is_all_that_a_dense_block_returns() -> None:
    model = build("torchvision", "densenet121")
    rows = attach(model, nn.Identity, "stage").rows
    assert [row.channels for row in rows] == [256, 512, 1024]
    assert rows[0].place == "after features.denseblock1"
    detach(model)


def test_a_network_of_plain_layers_has_maps_before_its_pools() -> None:
    layers = [nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 24, 3), nn.ReLU()]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10)).eval()
    for site, place, channels in (("stage", "before 2", 8), ("head", "before 5", 24)):
        row = attach(net, Same, site, image_size=64).rows[0]
        assert (row.place, row.channels) == (place, channels)
    logits(net)
    every_layer = {nn.Conv2d: {"branch": "."}}
    assert [row.channels for row in attach(net, nn.Identity, blocks=every_layer).rows] == [8, 24]


def test_channels_that_only_a_block_knows_are_not_guessed() -> None:
    class Joined(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.branches = nn.ModuleList([nn.Conv2d(3, 4, 1), nn.Conv2d(3, 8, 1)])

        def forward(self, x: Tensor) -> Tensor:
            return torch.cat([branch(x) for branch in self.branches], 1)

    model = nn.Sequential(Joined(), nn.MaxPool2d(2))
    with pytest.raises(ValueError, match="attach finds no block it knows in Sequential"):
        attach(model, attn.NAM, "head")
    with pytest.raises(ValueError, match="does not tell its channels: name a convolution"):
        attach(model, attn.NAM, blocks={Joined: {"branch": "."}})


def test_the_size_of_a_detectors_maps_is_asked_of_its_backbone() -> None:
    model = untrained(DETECTION.retinanet_resnet50_fpn)
    with pytest.raises(ValueError, match=r"RetinaNet does not run .*: call attach\(model.backbone"):
        attach(model, Same, image_size=64)
    assert detach(model) == 0
    report = attach(model.backbone, Same, image_size=64)
    assert inserted(model.backbone, report)[-1].shape == (2048, 2, 2)


def test_branches_of_an_hrnet_are_no_stages() -> None:
    with torch.device("meta"):
        model = pytest.importorskip("timm").create_model("hrnet_w18_small").eval()
    stages = {row.name.split(".")[0]: row.stage for row in attach(model, nn.Identity).rows}
    assert stages == {"layer1": 1, "stage2": 2, "stage3": 3, "stage4": 4, "incre_modules": 5}
    assert attach(model, nn.Identity, "head").rows[0].place == "after final_layer"
    with pytest.raises(ValueError, match=r"stage 2 in stage2.0.*cannot tell.*as in blocks=\{"):
        attach(model, nn.Identity, "stage")


def test_a_layer_that_returns_no_map_is_refused() -> None:
    class Pair(Mine):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return x, super().forward(x)

    model = nn.Sequential(nn.Conv2d(3, 8, 3), Pair(8))
    attach(model, attn.Half, "post", blocks={Pair: MINE})
    with pytest.raises(TypeError, match=r"takes one map, and Pair returns a tuple: .* blocks=\{"):
        logits(model)


def test_strides_in_the_attention_of_timm_are_not_the_networks() -> None:
    model = build("timm", "mobilenetv4_hybrid_medium")
    stages = {row.name.split(".")[1]: row.stage for row in attach(model, nn.Identity).rows}
    assert stages == {"0": 1, "1": 2, "2": 3, "3": 4}
    detach(model)


def test_strides_in_attention_are_not_the_networks() -> None:
    model = build("torchvision", "mobilenet_v2")
    stages = [
        [row.stage for row in attach(model, lambda c: nn.Conv2d(c, c, 1, 2), site).rows]
        for site in ("post", "branch")
    ]
    detach(model)
    assert stages[0] == stages[1]


def test_sites_that_meet_run_in_their_order(resnet: nn.Module) -> None:
    def factory(site: str):
        return lambda channels: Order(site)

    class Order(nn.Module):
        def __init__(self, site: str) -> None:
            super().__init__()
            self.site = site

        def forward(self, x: Tensor) -> Tensor:
            called.append(self.site)
            return x

    called = []
    for site in ("head", "stage", "post"):
        attach(resnet, factory(site), site)
    logits(resnet)
    assert called == [*["post", "post", "stage"] * 3, "post", "post", "head"]


def test_report(resnet: nn.Module) -> None:
    report = attach(resnet, attn.NAM)
    first = report.rows[0]
    assert (first.name, first.place) == ("layer1.0.attention_branch", "after layer1.0.bn2")
    assert (first.stage, first.channels, first.params) == (1, 64, 128)
    assert len(report) == 8
    assert str(report).splitlines() == [
        "NAM at branch: 8 modules, 3,840 parameters",
        "stage  channels  modules      params  place",
        "    1        64        2         256  after layer1.0.bn2 ... layer1.1.bn2",
        "    2       128        2         512  after layer2.0.bn2 ... layer2.1.bn2",
        "    3       256        2       1,024  after layer3.0.bn2 ... layer3.1.bn2",
        "    4       512        2       2,048  after layer4.0.bn2 ... layer4.1.bn2",
    ]


def test_stages_are_chosen(resnet: nn.Module) -> None:
    assert [row.stage for row in attach(resnet, attn.NAM, stages=[3, 4]).rows] == [3, 3, 4, 4]
    attach(resnet, attn.SE, stages=(1,))
    assert isinstance(resnet.layer1[0].attention_branch, attn.SE)
    assert detach(resnet) == 6


def test_a_factory_is_told_stage_and_size(resnet: nn.Module) -> None:
    told = []

    def factory(channels: int, stage: int, size: tuple[int, int]) -> nn.Module:
        told.append((channels, stage, size))
        return nn.Identity()

    resnet.train()
    before = copy.deepcopy(resnet.state_dict())
    attach(resnet, factory, "stage", image_size=(64, 96))
    assert told == [(64, 1, (16, 24)), (128, 2, (8, 12)), (256, 3, (4, 6))]
    assert all(torch.equal(before[key], value) for key, value in resnet.state_dict().items())
    assert all(module.training for module in resnet.modules())
    attach(resnet, Same, "head", image_size=32)  # 1 x 1: BatchNorm cannot train on one image


def test_sizes_that_do_not_fit_leave_no_hook(resnet: nn.Module) -> None:
    message = (
        r"image_size=\(0, 0\): ResNet does not run all its blocks on images of shape \(2, 3, 0"
    )
    with pytest.raises(ValueError, match=message):
        attach(resnet, Same, image_size=0)
    assert not any(module._forward_hooks for module in resnet.modules())


def test_one_seed_is_one_attention_and_random_state_stays(resnet: nn.Module) -> None:
    def weights(seed: int) -> tuple[Tensor, Tensor]:
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        first, second, *_ = inserted(resnet, attach(resnet, attn.SE))
        assert torch.equal(torch.get_rng_state(), state)
        detach(resnet)
        return first.fc1.weight, second.fc1.weight

    (first, second), (again, _), (other, _) = weights(0), weights(0), weights(1)
    assert torch.equal(first, again)
    assert not torch.equal(first, second)
    assert not torch.equal(first, other)


def test_modules_take_type_device_and_mode_of_the_network() -> None:
    with torch.device("meta"):
        model = torchvision.models.resnet18().bfloat16()
        report = attach(model, attn.CBAM)
    for module in inserted(model, report):
        assert {(p.dtype, p.device.type) for p in module.parameters()} == {(torch.bfloat16, "meta")}
        assert all(part.training for part in module.modules())
    assert not any(m.training for m in inserted(model, attach(model.eval(), attn.CBAM, "post")))
    model.layer4.double()
    mixed = inserted(model, attach(model, attn.SE, "inner"))
    assert [module.fc1.weight.dtype for module in mixed] == 6 * [torch.bfloat16] + 2 * [
        torch.double
    ]


def test_sizes_of_a_network_in_another_type() -> None:
    model = copy.deepcopy(build("torchvision", "convnext_tiny")).bfloat16()
    assert len(attach(model, Same, image_size=64)) == 18


def test_state_dict_round_trip(resnet: nn.Module) -> None:
    old = copy.deepcopy(resnet.state_dict())
    attach(resnet, attn.CBAM)
    other = torchvision.models.resnet18().eval()
    attach(other, attn.CBAM)
    missing, unexpected = other.load_state_dict(old, strict=False)
    assert not unexpected
    assert all(".attention_branch." in key for key in missing)
    other.load_state_dict(resnet.state_dict())
    assert torch.equal(logits(other), logits(resnet))


def saved(model: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("duplicate", [copy.deepcopy, saved])
def test_copies_have_their_own_attention(resnet: nn.Module, duplicate) -> None:
    plain = logits(resnet)
    attach(resnet, attn.SE)
    attach(resnet, attn.SE, "identity")
    expected = logits(resnet)
    twin = duplicate(resnet)
    assert torch.equal(logits(twin), expected)
    with torch.no_grad():
        twin.layer1[0].attention_branch.fc2.bias.fill_(9)
    assert not torch.equal(logits(twin), expected)
    assert torch.equal(logits(resnet), expected)
    assert detach(twin) == 16
    assert torch.equal(logits(twin), plain)
    assert torch.equal(logits(resnet), expected)


def test_compile_and_export(resnet: nn.Module) -> None:
    attach(resnet, attn.SE)
    attach(resnet, attn.NAM, "inner")
    expected = logits(resnet)
    with torch.no_grad():
        compiled = torch.compile(resnet, backend="eager", fullgraph=True)
        assert torch.equal(compiled(images()), expected)
        exported = torch.export.export(resnet, (images(),))
        assert torch.equal(exported.module()(images()), expected)
    assert exported.state_dict.keys() == resnet.state_dict().keys()


def test_gradients_reach_attention_and_freezing_batchnorm_does_not() -> None:
    model = copy.deepcopy(build("torchvision", "resnet18"))
    report = attach(model, attn.SE)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.requires_grad_(False)
    model(images().clone()).sum().backward()
    for module in inserted(model, report):
        assert all(p.grad is not None for p in module.parameters())


def test_a_replaced_layer_is_noticed() -> None:
    model = copy.deepcopy(build("torchvision", "resnet18"))
    attach(model, attn.Half)
    nn.SyncBatchNorm.convert_sync_batchnorm(model)
    with pytest.raises(RuntimeError, match="attention at branch was replaced after attach: conv"):
        logits(model)
    assert detach(model) == 8
    logits(model)


class Mine(nn.Module):
    """A block as many repositories write it."""

    def __init__(self, planes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(planes, 2 * planes, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(2 * planes)
        self.conv2 = nn.Conv2d(2 * planes, planes, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(planes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(self.conv1(x)).relu()
        return (x + self.norm2(self.conv2(y))).relu()


class MyNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.relu = nn.ReLU()
        self.group1 = nn.Sequential(Mine(8), Mine(8))
        self.group2 = nn.Sequential(Mine(8))
        self.last = nn.Conv2d(8, 24, 1)
        self.fc = nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.group2(self.group1(self.relu(self.stem(x))))
        return self.fc(self.last(x).mean((2, 3)))


MINE = {"branch": "norm2", "inner": "before conv2"}


def test_blocks_of_your_own() -> None:
    model = MyNet().eval()
    plain = logits(model)
    places = {"inner": 16, "branch": 8, "post": 8, "stage": 8, "head": 24}
    for site, channels in places.items():
        report = attach(model, Same, site, image_size=64, blocks={Mine: MINE})
        assert {row.channels for row in report.rows} == {channels}
    assert torch.equal(logits(model), plain)
    assert report.rows[0].place == "after last"
    assert detach(model) == 3 + 3 + 3 + 1 + 1
    namesake = type("Mine", (nn.Module,), {})  # another class of the same name
    model.add_module("another", namesake())
    with pytest.raises(ValueError, match='a place is "bn2" or "before conv2", not "befor last"'):
        attach(model, attn.Half, blocks={Mine: {**MINE, "branch": "befor last"}})
    report = attach(model, attn.Half, blocks={Mine: MINE})
    assert [row.stage for row in report.rows] == [1, 1, 2]
    assert not torch.equal(logits(model), plain)


def test_a_class_derived_from_a_block_is_one() -> None:
    derived = type("Derived", (torchvision.models.resnet.BasicBlock,), {})
    assert len(attach(torchvision.models.ResNet(derived, [1, 1, 1, 1]), nn.Identity)) == 4


def test_a_block_is_not_known_by_its_name_alone() -> None:
    before_activation = type("BasicBlock", (nn.Module,), {})()
    for name in ("bn1", "conv1", "bn2", "conv2"):
        before_activation.add_module(name, nn.Identity())
    with pytest.raises(ValueError, match="attach finds no block it knows in Sequential"):
        attach(nn.Sequential(before_activation), attn.NAM)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"site": "pre"}, "site=pre: choose from inner, branch, identity, post, stage, head"),
        ({"stages": [4, 5]}, r"stages has \[5\]: ResNet has stages \[1, 2, 3, 4\]"),
        ({"site": "stage", "stages": [4]}, r"ResNet has no stage in stages \[4\]: choose others"),
        ({"stages": []}, r"ResNet has no branch in stages \[\]"),
        ({"module_factory": Same}, r"asks for the size of its map: say attach\(image_size="),
        ({"blocks": {nn.ReLU: {"branch": "bn2"}}}, r"^relu \(ReLU\) has no layer bn2 to hook"),
        ({"blocks": {nn.ReLU: {"inner": "bn2"}}}, "names inner of ReLU: it must name the branch"),
        ({"blocks": {nn.ReLU: {}}}, "names nothing of ReLU: it must name the branch"),
        ({"blocks": {nn.Sequential: {"branch": "0"}}}, "Sequential is an nn.Sequential, which"),
        ({"blocks": {MyNet: {"branch": "bn2"}}}, "attach finds no block it knows in ResNet.*yours"),
    ],
)
def test_refusals(resnet: nn.Module, arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        attach(resnet, **{"module_factory": attn.NAM, **arguments})
    assert detach(resnet) == 0


def test_refuses_a_name_and_says_how_a_name_becomes_a_factory(resnet: nn.Module) -> None:
    with pytest.raises(TypeError, match=r"such as attn\.NAM, not the name 'nam'") as refused:
        attach(resnet, "nam")
    factory = eval(re.search(r"attn\.names.*\(\)", str(refused.value))[0])
    assert len(attach(resnet, factory)) == len(attach(resnet, attn.NAM, "inner")) > 0


def test_refuses_a_module_in_place_of_a_factory(resnet: nn.Module) -> None:
    with pytest.raises(TypeError, match=r"pass attn.NAM, not attn.NAM\(64\)"):
        attach(resnet, attn.NAM(64))


def test_refuses_to_attach_twice(resnet: nn.Module) -> None:
    attach(resnet, attn.NAM, stages=[2])
    with pytest.raises(ValueError, match=r"layer2.0 has attention at branch: call detach\(model\)"):
        attach(resnet, attn.SE)
    assert detach(resnet) == 2


def test_a_factory_that_fails_leaves_the_network_as_it_was(resnet: nn.Module) -> None:
    plain = list(resnet.state_dict())
    with pytest.raises(ValueError, match="reduction=128 does not fit 64 channels"):
        attach(resnet, lambda channels: attn.SE(channels, reduction=128))
    assert list(resnet.state_dict()) == plain
    assert detach(resnet) == 0
