from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import models
from attn.aff import AFF, IAFF
from attn.se import SE
from models import SITES, Slots
from models.layers import conv1x1
from models.preact_resnet import PreActBasicBlock, PreActBottleneck, PreActResNet

CIFAR100 = {"num_classes": 100, "stem": "cifar", "image_size": 32}
SMALL = partial(PreActResNet, num_classes=3, planes=(8, 12, 16), stem_planes=8)
NETS = {
    "basic": partial(SMALL, PreActBasicBlock, (2, 1, 1)),
    "bottleneck": partial(SMALL, PreActBottleneck, (2, 1, 1), expansion=4),
    "aff_resnet32": partial(models.aff_resnet32, num_classes=3),
}


@pytest.mark.parametrize(
    ("name", "fusion", "expected"),
    [
        ("aff_resnet32", models.Add, 7_450_276),
        ("aff_resnet32", AFF, 7_897_156),
        ("aff_resnet32", IAFF, 8_344_036),
        ("preact_resnet164", models.Add, 1_726_388),
    ],
)
def test_published_number_of_parameters(parameters, name, fusion, expected):
    assert parameters(getattr(models, name)(slots=Slots(fusion=fusion), **CIFAR100)) == expected


@pytest.mark.parametrize(
    ("width", "fusion", "expected"),
    [(1, models.Add, 472_564), (1, AFF, 503_644), (1, IAFF, 534_724), (4, AFF, 7_897_156)],
)
def test_affs_network_at_other_widths(parameters, width, fusion, expected):
    planes = [width * 16, width * 32, width * 64]
    net = models.aff_resnet32(
        planes=planes, stem_planes=planes[0], slots=Slots(fusion=fusion), **CIFAR100
    )
    assert parameters(net) == expected


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("block", ["layers.0.0", "layers.1.0"])
def test_sites_of_a_block_stand_where_they_should(probe, record, net, block):
    whole = NETS[net](slots=Slots(probe, SITES)).eval()
    inputs, outputs = record(whole, torch.randn(2, 3, 8, 8))
    into = {name: inputs[f"{block}.{name}"] for name in (*SITES[:5], "fusion")}
    out = {name: outputs[f"{block}.{name}"] for name in (*SITES[:5], "fusion", "downsample")}
    middle = 2 if net == "bottleneck" else 1
    assert torch.equal(inputs[f"{block}.bn1"][0], inputs[block][0])
    assert torch.equal(inputs[f"{block}.conv1"][0], F.relu(outputs[f"{block}.bn1"]))
    assert torch.equal(into["prenorm"][0], outputs[f"{block}.conv{middle}"])
    assert torch.equal(inputs[f"{block}.bn{middle + 1}"][0], out["prenorm"])
    assert torch.equal(into["inner"][0], F.relu(outputs[f"{block}.bn{middle + 1}"]))
    assert torch.equal(inputs[f"{block}.conv{middle + 1}"][0], out["inner"])
    assert torch.equal(into["branch"][0], outputs[f"{block}.conv{middle + 1}"])
    assert torch.equal(inputs[f"{block}.downsample"][0], inputs[block][0])
    assert torch.equal(into["identity"][0], out["downsample"])
    assert torch.equal(into["fusion"][0], out["identity"])
    assert torch.equal(into["fusion"][1], out["branch"])
    assert torch.equal(into["post"][0], out["identity"] + out["branch"])
    assert torch.equal(outputs[block], out["post"])


@pytest.mark.parametrize("net", NETS)
def test_sites_of_the_net_stand_where_they_should(probe, record, net):
    whole = NETS[net](slots=Slots(probe, ["stage", "head"])).eval()
    inputs, outputs = record(whole, torch.randn(2, 3, 8, 8))
    assert torch.equal(inputs["conv1"][0], outputs["data_norm"])
    for stage in (0, 1):
        last = len(whole.layers[stage]) - 1
        assert isinstance(whole.layers[stage][last], probe)
        assert torch.equal(inputs[f"layers.{stage + 1}"][0], outputs[f"layers.{stage}.{last}"])
    assert torch.equal(inputs["bn"][0], outputs["layers"])
    assert torch.equal(inputs["head"][0], F.relu(outputs["bn"]))
    assert torch.equal(inputs["fc"][0], outputs["head"].mean((2, 3)))


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize(
    "slots", [*(Slots(SE, [site]) for site in SITES), Slots(fusion=AFF)], ids=[*SITES, "fusion"]
)
def test_one_seed_is_one_backbone(net, slots):
    slots = Slots(partial(SE, reduction=4), slots.sites, partial(AFF), stages=slots.stages)
    torch.manual_seed(0)
    plain, stream = NETS[net]().state_dict(), torch.get_rng_state()
    torch.manual_seed(0)
    state = NETS[net](slots=slots).state_dict()
    assert all(torch.equal(state[key], plain[key]) for key in plain)
    assert torch.equal(stream, torch.get_rng_state())


def test_images_are_normalized_without_scale_and_shift():
    norm = models.aff_resnet32().data_norm
    assert isinstance(norm, nn.BatchNorm2d)
    assert not list(norm.parameters())
    assert isinstance(models.preact_resnet164().data_norm, nn.Identity)


def test_shortcuts_have_no_norm():
    net = models.preact_resnet164()
    assert [type(net.layers[i][0].downsample) for i in range(3)] == [nn.Conv2d] * 3
    assert isinstance(net.layers[1][1].downsample, nn.Identity)
    pool, conv = models.aff_resnet32().layers[1][0].downsample
    assert (pool.kernel_size, conv.kernel_size, conv.stride) == (2, (1, 1), (1, 1))
    strided = models.aff_resnet32(shortcut=conv1x1).layers[1][0].downsample
    assert strided.stride == (2, 2)


@pytest.mark.parametrize("image_size", [32, 45])
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_told_channels_and_size_are_those_of_the_map(probe, stem, image_size):
    slots = Slots(probe, SITES)
    net = NETS["bottleneck"](stem=stem, image_size=image_size, slots=slots).eval()
    net(torch.randn(1, 3, image_size, image_size))
    probes = [m for m in net.modules() if isinstance(m, probe)]
    assert [(m.told[0], m.told[2]) for m in probes] == [m.met[0] for m in probes]


def test_unknown_stem_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="stem=mnist: choose from imagenet, cifar"):
        models.preact_resnet164(stem="mnist")


@pytest.mark.parametrize("net", NETS)
def test_every_parameter_learns(net):
    torch.manual_seed(0)
    whole = NETS[net]()
    whole(torch.randn(4, 3, 8, 8)).square().sum().backward()
    assert [name for name, p in whole.named_parameters() if not p.grad.any()] == []
