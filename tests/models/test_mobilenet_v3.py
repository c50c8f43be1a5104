from functools import partial
from itertools import pairwise

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import models
from attn.ie import IEBN
from attn.se import SE
from models import SITES, Slots

SMALL = partial(models.mobilenet_v3_small, num_classes=3, stem="cifar", width_mult=0.5)
# with the cifar stem and half the width: 8 blocks have a shortcut, 6 as published
PLACES = {
    "prenorm": 11,
    "inner": 11,
    "branch": 11,
    "identity": 8,
    "post": 11,
    "stage": 3,
    "head": 1,
}


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "mobilenet_v3_small"])
def test_plain_net_is_torchvisions(name):
    theirs = getattr(torchvision.models, name)().eval()
    ours = getattr(models, name)().eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 65, 64)
    with torch.no_grad():
        assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "mobilenet_v3_small"])
def test_it_trains_as_torchvisions(name):
    theirs = getattr(torchvision.models, name)(dropout=0.0)
    ours = getattr(models, name)(dropout=0.0)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 3, 64, 64)
    for net in (theirs, ours):
        net(x).square().sum().backward()
    assert all(
        torch.equal(a.grad, b.grad)
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True)
    )
    expected = theirs.state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in ours.state_dict().items())


@pytest.mark.parametrize("width_mult", [0.5, 0.75, 1.25])
def test_width_is_rounded_as_torchvision_does(width_mult):
    with torch.device("meta"):
        theirs = torchvision.models.mobilenet_v3_large(width_mult=width_mult)
        ours = models.mobilenet_v3_large(width_mult=width_mult)
    shapes = [{k: v.shape for k, v in net.state_dict().items()} for net in (ours, theirs)]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize(
    ("name", "params", "mmacs"),
    [("mobilenet_v3_large", 5_483_032, 216.6), ("mobilenet_v3_small", 2_542_856, 56.5)],
)
def test_published_number_of_parameters_and_macs(parameters, name, params, mmacs):
    net = getattr(models, name)().eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        net(torch.zeros(1, 3, 224, 224))
    assert parameters(net) == params
    assert counter.get_total_flops() / 2e6 == pytest.approx(mmacs, abs=0.05)


@pytest.mark.parametrize("site", SITES)
def test_each_site_is_called_as_often_as_there_are_places(probe, calls, site):
    assert calls(SMALL(slots=Slots(probe, [site])), 16) == {site: PLACES[site]}


def act_of(block: nn.Module) -> type:
    return F.hardswish if any(isinstance(m, nn.Hardswish) for m in block.modules()) else F.relu


@pytest.mark.parametrize("block", [1, 2, 3, 5])
def test_sites_of_a_block_stand_where_they_should(probe, record, block):
    """Block 1 has squeeze-and-excitation, blocks 2 and 3 an expansion, block 5 both."""
    net = models.mobilenet_v3_small(num_classes=3, slots=Slots(probe, SITES)).eval()
    inputs, outputs = record(net, torch.randn(2, 3, 64, 64))
    at = f"features.{block}"
    act = act_of(net.get_submodule(at))
    depthwise = f"{at}.block.{0 if block == 1 else 1}"
    squeezed = f"{at}.block.{1 if block == 1 else 2}" if block in (1, 5) else depthwise
    last = f"{at}.block.{int(squeezed[-1]) + 1}"
    assert torch.equal(inputs[f"{depthwise}.prenorm"][0], outputs[f"{depthwise}.0"])
    assert torch.equal(inputs[f"{depthwise}.1"][0], outputs[f"{depthwise}.prenorm"])
    assert torch.equal(outputs[depthwise], act(outputs[f"{depthwise}.1"]))
    assert torch.equal(inputs[f"{at}.block.inner"][0], outputs[squeezed])
    assert torch.equal(inputs[last][0], outputs[f"{at}.block.inner"])
    assert torch.equal(inputs[f"{at}.branch"][0], outputs[last])
    total = outputs[f"{at}.branch"]
    if block in (3, 5):
        assert torch.equal(inputs[f"{at}.identity"][0], inputs[at][0])
        total = outputs[f"{at}.identity"] + total
    assert torch.equal(inputs[f"{at}.post"][0], total)
    assert torch.equal(outputs[at], outputs[f"{at}.post"])


def test_sites_of_the_net_stand_where_they_should(probe, record):
    net = SMALL(slots=Slots(probe, ["stage", "head"])).eval()
    inputs, outputs = record(net, torch.randn(2, 3, 16, 16))
    names = [name for name, _ in net.features.named_children()]
    assert [names.index(f"stage{i}") for i in (1, 2, 3)] == [2, 5, 11]
    for before, after in pairwise(names):
        assert torch.equal(inputs[f"features.{after}"][0], outputs[f"features.{before}"])
    assert torch.equal(inputs["head"][0], outputs["features"])
    assert torch.equal(inputs["classifier"][0], outputs["head"].mean((2, 3)))


@pytest.mark.parametrize("name", ["mobilenet_v3_large", "mobilenet_v3_small"])
def test_cifar_stem_keeps_images_large(record, name):
    net = getattr(models, name)(num_classes=3, stem="cifar")
    _, outputs = record(net, torch.randn(2, 3, 32, 32))
    assert outputs["features.0"].shape[2] == 32
    assert outputs["features"].shape[2] == 4


@pytest.mark.parametrize("image_size", [32, 45])
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
def test_told_channels_and_size_are_those_of_the_map(probe, stem, image_size):
    net = SMALL(stem=stem, image_size=image_size, slots=Slots(probe, SITES)).eval()
    net(torch.randn(1, 3, image_size, image_size))
    probes = [m for m in net.modules() if isinstance(m, probe)]
    assert [(m.told[0], m.told[2]) for m in probes] == [m.met[0] for m in probes]
    assert {m.told[1] for m in probes} == {1, 2, 3, 4}


@pytest.mark.parametrize("site", SITES)
def test_one_seed_is_one_backbone(site):
    torch.manual_seed(0)
    plain, stream = SMALL().state_dict(), torch.get_rng_state()
    torch.manual_seed(0)
    state = SMALL(slots=Slots(partial(SE, reduction=4), [site])).state_dict()
    assert [key for key in state if key in plain] == list(plain)
    assert all(torch.equal(state[key], plain[key]) for key in plain)
    assert torch.equal(stream, torch.get_rng_state())


def test_its_own_squeeze_can_be_taken_out_or_replaced(parameters):
    torch.manual_seed(0)
    plain = SMALL().state_dict()
    for se in (nn.Identity, partial(SE, reduction=4)):
        torch.manual_seed(0)
        state = SMALL(se=se).state_dict()
        own = {key for key in plain if key.endswith(("fc1.weight", "fc2.weight"))}
        own |= {key for key in plain if key.endswith(("fc1.bias", "fc2.bias"))}
        assert len(own) == 4 * 9
        assert all(torch.equal(state[key], plain[key]) for key in set(plain) - own)


def test_norm_is_told_eps_and_momentum():
    net = SMALL(slots=Slots(norm=IEBN))
    assert {(m.bn.eps, m.bn.momentum) for m in net.modules() if isinstance(m, IEBN)} == {
        (0.001, 0.01)
    }


def test_conv_slot_is_told_the_kernel():
    seen = []

    def conv(in_planes, planes, stride, groups, kernel_size):
        seen.append(kernel_size)
        return models.conv3x3(in_planes, planes, stride, groups, kernel_size=kernel_size)

    SMALL(slots=Slots(conv=conv))
    assert seen == [3] * 3 + [5] * 8


def test_unknown_stem_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="stem=mnist: choose from imagenet, cifar"):
        models.mobilenet_v3_small(stem="mnist")


def test_every_parameter_learns():
    torch.manual_seed(0)
    net = models.mobilenet_v3_small(num_classes=3, stem="cifar")
    net(torch.randn(8, 3, 32, 32)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if not p.grad.any()] == []
