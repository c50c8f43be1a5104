from functools import partial

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

import attn
import models
from models import SITES, Slots, conv3x3
from models.resnet import BasicBlock, Bottleneck

CIFAR = {"num_classes": 100, "stem": "cifar", "image_size": 32}
NETS = {
    "basic": (partial(models.ResNet, BasicBlock, (2, 1, 1, 2), (16, 24, 32, 40)), 6),
    "bottleneck": (partial(models.ResNet, Bottleneck, (2, 1, 1, 2), (4, 8, 12, 16)), 6),
    "padded": (partial(models.resnet20), 9),
}


@pytest.mark.parametrize(
    ("factory", "site", "cifar", "imagenet"),
    [
        (nn.Identity, "branch", 23_705_252, 25_557_032),
        (attn.SE, "branch", 26_236_244, 28_088_024),
        (partial(attn.SE, bias=False), "branch", 26_220_196, 28_071_976),
        (partial(attn.ECA, kernel_size=(3, 5, 5, 7)), "branch", 23_705_332, 25_557_112),
        (attn.CBAM, "branch", 26_237_844, 28_089_624),
        (attn.BAM, "stage", 24_063_319, 25_915_099),
        (attn.NAM, "branch", 23_735_460, 25_587_240),
        (partial(attn.NAM, spatial=True), "branch", 23_744_516, 25_614_974),
        (attn.Triplet, "branch", 23_710_052, 25_561_832),
    ],
)
def test_resnet50_has_the_published_number_of_parameters(
    parameters, factory, site, cifar, imagenet
):
    slots = Slots(attn=factory, sites=[site])
    assert parameters(models.resnet50(slots=slots, **CIFAR)) == cifar
    assert parameters(models.resnet50(slots=slots)) == imagenet


@pytest.mark.parametrize(
    ("net", "expected"),
    [
        (partial(models.resnet18, **CIFAR), 11_220_132),
        (partial(models.resnet34, **CIFAR), 21_328_292),
        (models.resnet18, 11_689_512),
        (models.resnet34, 21_797_672),
        (models.resnet101, 44_549_160),
        (models.resnet152, 60_192_808),
        # by hand: stem 464, stages 4,672, 13,952 and 55,552, classifier 6,500
        (partial(models.resnet8, num_classes=100), 81_140),
        # He et al., Table 6: 0.27, 0.46, 0.85 and 1.7 M
        (partial(models.resnet20, num_classes=10), 269_722),
        (partial(models.resnet32, num_classes=10), 464_154),
        (partial(models.resnet56, num_classes=10), 853_018),
        (partial(models.resnet110, num_classes=10), 1_727_962),
    ],
)
def test_the_others_too(parameters, net, expected):
    assert parameters(net()) == expected


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_plain_net_is_torchvisions(name):
    theirs = getattr(torchvision.models, name)().eval()
    ours = getattr(models, name)().eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 65, 64)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("name", ["resnet34", "resnet101", "resnet152"])
def test_keys_are_torchvisions(name):
    with torch.device("meta"):
        theirs = getattr(torchvision.models, name)()
    ours = getattr(models, name)()
    shapes = [[(key, v.shape) for key, v in net.state_dict().items()] for net in (ours, theirs)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("site", SITES)
def test_each_site_is_called_as_often_as_there_are_places(probe, calls, net, site):
    build, blocks = NETS[net]
    stages = 3 if net == "padded" else 4
    expected = {"stage": stages - 1, "head": 1}.get(site, blocks)
    slots = Slots(attn=probe, sites=[site])
    assert calls(build(num_classes=3, stem="cifar", slots=slots), 8) == {site: expected}


@pytest.mark.parametrize("net", NETS)
def test_no_site_means_no_attention(probe, calls, net):
    assert calls(NETS[net][0](num_classes=3, slots=Slots(attn=probe)), 32) == {}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("block", ["layer1.0", "layer3.0"])
def test_sites_of_a_block_stand_where_they_should(probe, record, net, block):
    slots = Slots(attn=probe, sites=SITES)
    whole = NETS[net][0](num_classes=3, stem="cifar", slots=slots).eval()
    inputs, outputs = record(whole, torch.randn(2, 3, 8, 8))
    into = {name: inputs[f"{block}.{name}"] for name in (*SITES[:5], "fusion")}
    out = {name: outputs[f"{block}.{name}"] for name in (*SITES[:5], "fusion", "downsample")}
    middle, last = ("bn2", "bn3") if net == "bottleneck" else ("bn1", "bn2")
    last_conv = f"{block}.conv{last[-1]}"
    assert torch.equal(into["prenorm"][0], outputs[f"{block}.conv{middle[-1]}"])
    assert torch.equal(inputs[f"{block}.{middle}"][0], out["prenorm"])
    assert torch.equal(into["inner"][0], F.relu(outputs[f"{block}.{middle}"]))
    assert torch.equal(inputs[last_conv][0], out["inner"])
    assert torch.equal(into["branch"][0], outputs[f"{block}.{last}"])
    assert torch.equal(into["identity"][0], out["downsample"])
    assert torch.equal(into["fusion"][0], out["identity"])
    assert torch.equal(into["fusion"][1], out["branch"])
    assert torch.equal(into["post"][0], F.relu(out["identity"] + out["branch"]))
    assert torch.equal(outputs[block], out["post"])


@pytest.mark.parametrize("net", NETS)
def test_sites_of_the_net_stand_where_they_should(probe, record, net):
    whole = NETS[net][0](num_classes=3, stem="cifar", slots=Slots(probe, ["stage", "head"])).eval()
    inputs, outputs = record(whole, torch.randn(2, 3, 8, 8))
    *layers, last = whole.stages
    for layer, following in zip(layers, whole.stages[1:], strict=True):
        attention = len(getattr(whole, layer)) - 1
        assert torch.equal(inputs[f"{layer}.{attention}"][0], outputs[f"{layer}.{attention - 1}"])
        assert torch.equal(inputs[f"{following}.0"][0], outputs[f"{layer}.{attention}"])
    assert torch.equal(inputs["head"][0], outputs[last])
    assert torch.equal(inputs["fc"][0], outputs["head"].mean((2, 3)))


@pytest.mark.parametrize(
    ("net", "blocks", "norms"),
    [(models.resnet18, 8, 17), (models.resnet50, 16, 49), (models.resnet20, 9, 19)],
)
def test_fusion_conv_and_norm_are_used_where_they_should(counting, net, blocks, norms):
    fusion, fused = counting(models.Add)
    conv, convolved = counting(conv3x3)
    norm, normed = counting(nn.BatchNorm2d)
    whole = net(num_classes=3, stem="cifar", slots=Slots(fusion=fusion, conv=conv, norm=norm))
    whole(torch.randn(2, 3, 8, 8))
    assert fused == {"built": blocks, "called": blocks}
    assert convolved == {"built": blocks, "called": blocks}
    assert normed == {"built": norms, "called": norms}


@pytest.mark.parametrize("net", NETS)
def test_projection_keeps_its_plain_norm(counting, net):
    class Norm(nn.Identity):
        """A norm that is no batch norm."""

    whole = NETS[net][0](slots=Slots(norm=Norm))
    left = [name for name, m in whole.named_modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(".downsample.1" in name for name in left)
    assert len(left) == sum(name.endswith("downsample.0") for name, _ in whole.named_modules())


def test_fusion_is_given_the_shortcut_first():
    class ShortcutOnly(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()

        def forward(self, shortcut, branch):
            return shortcut

    slots = Slots(fusion=ShortcutOnly)
    block = NETS["basic"][0](stem="cifar", slots=slots).layer1[1]
    x = torch.rand(2, 16, 4, 4)
    assert torch.equal(block(x), x)


def test_conv_slot_is_the_strided_convolution():
    seen = []

    def conv(*args):
        seen.append(args)
        return conv3x3(*args)

    models.resnet50(slots=Slots(conv=conv))
    firsts = [(64, 64, 1, 1), (128, 128, 2, 1), (256, 256, 2, 1), (512, 512, 2, 1)]
    assert [seen[at] for at in (0, 3, 7, 13)] == firsts
    assert [args[2] for args in seen].count(2) == 3


def test_padded_shortcut_subsamples_and_adds_zeros():
    block = models.resnet20().layer2[0]
    x = torch.randn(2, 16, 5, 6)
    y = block.downsample(x)
    assert torch.equal(y[:, :16], x[:, :, ::2, ::2])
    assert y.shape == (2, 32, 3, 3)
    assert not y[:, 16:].any()


@pytest.mark.parametrize("image_size", [32, 33])
def test_cifar_stem_keeps_the_resolution(record, image_size):
    net = models.resnet18(num_classes=3, stem="cifar")
    _, outputs = record(net, torch.randn(2, 3, image_size, image_size))
    assert outputs["maxpool"].shape[2:] == (image_size, image_size)
    assert outputs["layer4"].shape[2:] == (-(-image_size // 8),) * 2


def test_unknown_stem_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="stem=mnist: choose from imagenet, cifar"):
        models.resnet18(stem="mnist")


@pytest.mark.parametrize("net", NETS)
def test_every_parameter_learns(net):
    torch.manual_seed(0)
    whole = NETS[net][0](num_classes=3, stem="cifar")
    whole(torch.randn(4, 3, 8, 8)).square().sum().backward()
    assert [name for name, p in whole.named_parameters() if not p.grad.any()] == []
