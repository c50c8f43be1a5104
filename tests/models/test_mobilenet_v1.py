from functools import partial

import pytest
import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from attn import AFF, SE
from models import SITES, MobileNetV1, Slots

CIFAR100 = {"num_classes": 100, "stem": "cifar", "image_size": 32}
SMALL = partial(MobileNetV1, num_classes=3, stem="cifar", width_mult=0.25)
PLACES = {
    "prenorm": 13,
    "inner": 13,
    "branch": 13,
    "post": 13,
    "stage": 3,
    "head": 1,
}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (CIFAR100, 3_315_428),
        ({"bias": False}, 4_231_976),  # 4.2 M in the paper's Table 4
        ({}, 4_237_928),
    ],
)
def test_published_number_of_parameters(parameters, options, expected):
    assert parameters(MobileNetV1(**options)) == expected


@pytest.mark.parametrize(
    ("options", "image_size", "mmacs"),
    [(CIFAR100, 32, 46.45), ({}, 224, 568.74)],  # the paper: 569
)
def test_published_number_of_macs(options, image_size, mmacs):
    net = MobileNetV1(**options).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, image_size, image_size))
    assert counter.get_total_flops() / 2e6 == pytest.approx(mmacs, abs=0.005)


@pytest.mark.parametrize("site", PLACES)
def test_each_site_is_called_as_often_as_there_are_places(probe, site):
    net = SMALL(slots=Slots(probe, [site])).eval()
    net(torch.randn(1, 3, 16, 16))
    assert sum(len(m.met) for m in net.modules() if isinstance(m, probe)) == PLACES[site]


@pytest.mark.parametrize("slots", [Slots(SE, ["identity"]), Slots(fusion=AFF)])
def test_what_needs_a_shortcut_is_refused(slots):
    with pytest.raises(ValueError, match="this network has no shortcut"):
        SMALL(slots=slots)


@pytest.mark.parametrize("block", ["features.0", "features.1"])
def test_sites_of_a_block_stand_where_they_should(probe, record, block):
    net = SMALL(slots=Slots(probe, SITES)).eval()
    inputs, outputs = record(net, torch.randn(2, 3, 8, 8))
    middle = f"{block}.depthwise"
    assert torch.equal(inputs[f"{middle}.prenorm"][0], outputs[f"{middle}.0"])
    assert torch.equal(inputs[f"{middle}.1"][0], outputs[f"{middle}.prenorm"])
    assert torch.equal(inputs[f"{middle}.inner"][0], F.relu(outputs[f"{middle}.1"]))
    assert torch.equal(inputs[f"{block}.pointwise"][0], outputs[f"{middle}.inner"])
    assert torch.equal(inputs[f"{block}.branch"][0], outputs[f"{block}.bn"])
    assert torch.equal(inputs[f"{block}.post"][0], F.relu(outputs[f"{block}.branch"]))
    assert torch.equal(outputs[block], outputs[f"{block}.post"])


@pytest.mark.parametrize("image_size", [32, 45])
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_told_channels_and_size_are_those_of_the_map(probe, stem, image_size):
    net = SMALL(stem=stem, image_size=image_size, slots=Slots(probe, SITES)).eval()
    net(torch.randn(1, 3, image_size, image_size))
    probes = [m for m in net.modules() if isinstance(m, probe)]
    assert [(m.told[0], m.told[2]) for m in probes] == [m.met[0] for m in probes]
    stages = [m.told[1] for m in probes]
    assert stages == sorted(stages)
    assert set(stages) == {1, 2, 3, 4}


@pytest.mark.parametrize("site", PLACES)
def test_one_seed_is_one_backbone(site):
    torch.manual_seed(0)
    plain, stream = SMALL().state_dict(), torch.get_rng_state()
    torch.manual_seed(0)
    net = SMALL(slots=Slots(partial(SE, reduction=4), [site]))
    weights = [p for name, p in net.named_parameters() if "fc1" not in name and "fc2" not in name]
    plain_weights = [v for key, v in plain.items() if key.endswith(("weight", "bias"))]
    assert all(torch.equal(a, b) for a, b in zip(weights, plain_weights, strict=True))
    assert torch.equal(stream, torch.get_rng_state())


def test_unknown_stem_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="stem=mnist: choose from imagenet, cifar"):
        MobileNetV1(stem="mnist")


def test_a_width_of_nothing_is_refused():
    with pytest.raises(ValueError, match="width_mult must be at least 1/32"):
        MobileNetV1(width_mult=0.03)


def test_every_parameter_learns():
    torch.manual_seed(0)
    net = SMALL(bias=False)
    net(torch.randn(8, 3, 32, 32)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if not p.grad.any()] == []
