from functools import partial

import pytest
import torch
from torch import nn

import attn
import models
from models import SITES, Slots
from models.resnet import BasicBlock, Bottleneck

PLANES = (16, 24, 32, 40)
BACKBONES = {
    "basic": partial(models.ResNet, BasicBlock, (2, 1, 1, 1), PLANES, stem="cifar"),
    "bottleneck": partial(models.ResNet, Bottleneck, (2, 1, 1, 1), PLANES),
    "padded": models.resnet20,
    "mobilenet": partial(models.MobileNetV2, num_classes=10, stem="cifar"),
}
FITTING = {"shuffle": {"groups": 4}, "ema": {"groups": 4}, "ge": {"variant": "theta"}}
MECHANISMS = {
    name: partial(mechanism.factory, **FITTING.get(name, {}))
    for name, mechanism in attn.names().items()
    if mechanism.slot == "site"
} | {"nam-spatial": lambda: partial(attn.NAM, spatial=True)}


class RandomFusion(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(channels, 1, 1))

    def forward(self, shortcut, branch):
        return shortcut + self.weight * branch


class RandomNorm(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.randn(channels, 1, 1))


class RandomConv(nn.Module):
    def __init__(self, in_planes: int, planes: int, stride: int, groups: int = 1) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(planes, in_planes // groups, 5, 5))


def built(net, slots: Slots, seed: int = 0) -> tuple[dict, torch.Tensor]:
    """Initial weights, and the random stream's state after construction."""
    torch.manual_seed(seed)
    state = BACKBONES[net](slots=slots).state_dict()
    return state, torch.get_rng_state()


def differing(plain: dict, other: dict) -> list[str]:
    """The names of the plain net's weights that differ in the other net."""
    return [key for key in plain if not torch.equal(plain[key], other[key])]


@pytest.mark.parametrize("net", BACKBONES)
@pytest.mark.parametrize("name", MECHANISMS)
def test_one_seed_is_one_backbone_whatever_the_attention(net, name):
    plain, stream = built(net, Slots())
    choices = [SITES] if net == "mobilenet" else [*([site] for site in SITES), SITES]
    for sites in choices:
        state, after = built(net, Slots(MECHANISMS[name](), sites))
        assert [key for key in state if key in plain] == list(plain)
        assert differing(plain, state) == [], sites
        assert torch.equal(stream, after), sites


@pytest.mark.parametrize("net", BACKBONES)
@pytest.mark.parametrize(
    "slots",
    [Slots(fusion=RandomFusion), Slots(norm=RandomNorm), Slots(conv=RandomConv)],
    ids=["fusion", "norm", "conv"],
)
def test_one_seed_is_one_backbone_whatever_fills_the_slots(net, slots):
    plain, stream = built(net, Slots())
    state, after = built(net, slots)
    kept = {key: value for key, value in plain.items() if key in state}
    assert (len(kept) == len(plain)) == (slots.fusion is RandomFusion)
    assert differing(kept, state) == []
    assert torch.equal(stream, after)


@pytest.mark.parametrize("net", BACKBONES)
def test_without_a_stream_of_its_own_attention_shifts_the_backbone(monkeypatch, net):
    """The control: without a stream of its own, attention fails the tests above."""
    plain, _ = built(net, Slots())
    monkeypatch.setattr(Slots, "build", lambda self, slot, factory, *args, **own: factory(*args))
    naive, stream = built(net, Slots())
    state, after = built(net, Slots(attn.SE, ["branch"]))
    assert differing(naive, state)
    assert not torch.equal(stream, after)
    assert differing(plain, naive)


@pytest.mark.parametrize("net", BACKBONES)
def test_another_seed_is_another_backbone_and_another_attention(net):
    slots = Slots(attn.SE, ["branch"])
    one, two = built(net, slots, seed=0)[0], built(net, slots, seed=1)[0]
    weights = [key for key in one if key.endswith("weight") and one[key].dim() > 1]
    assert set(weights) <= set(differing(one, two))


@pytest.mark.parametrize("net", BACKBONES)
def test_the_same_seed_is_the_same_net(net):
    slots = Slots(attn.CBAM, SITES)
    assert differing(built(net, slots)[0], built(net, slots)[0]) == []


def test_blocks_do_not_share_their_initial_attention():
    net = models.resnet20(slots=Slots(attn.SE, ["branch"]))
    weights = [block.branch.fc1.weight.flatten() for block in net.layer1[:3]]
    assert not any(torch.equal(weights[i], weights[j]) for i, j in ((0, 1), (0, 2), (1, 2)))


def test_two_sites_of_a_block_do_not_share_their_initial_attention():
    slots, drawn = Slots(attn.SE, ["branch", "post"]), []
    for name in ("branch", "post"):  # at the same state of the backbone's random numbers
        torch.manual_seed(0)
        drawn.append(slots.site(name, 64).fc1.weight)
    assert not torch.equal(*drawn)


def test_attention_does_not_draw_the_backbones_next_numbers():
    torch.manual_seed(0)
    fused = Slots(fusion=RandomFusion).make_fusion(64).weight
    assert not torch.equal(fused.flatten(), torch.randn(64))


class Told(tuple):
    """What a factory was told; like a module it can be marked."""


def asks_nothing(channels):
    return Told((channels, None, None))


def asks_stage(channels, stage):
    return Told((channels, stage, None))


def asks_size(channels, size=None):
    return Told((channels, None, size))


def asks_both(channels, reduction=16, stage=None, size=None):
    return Told((channels, stage, size))


def asks_anything(*args, **options):
    return Told((*args, *options.values(), None, None)[:3])


@pytest.mark.parametrize(
    ("factory", "expected"),
    [
        (asks_nothing, (64, None, None)),
        (asks_stage, (64, 3, None)),
        (asks_size, (64, None, (8, 8))),
        (asks_both, (64, 3, (8, 8))),
        (partial(asks_both, reduction=4), (64, 3, (8, 8))),
        (asks_anything, (64, None, None)),
    ],
)
def test_stage_and_size_are_told_to_those_who_ask(factory, expected):
    slots = Slots(factory, ["branch"], fusion=factory, norm=factory).at(3, 8)
    assert slots.build("branch", factory, 64) == expected
    assert slots.make_fusion(64) == expected
    assert slots.make_norm(64) == expected


def test_a_module_at_a_site_is_marked_with_the_site():
    slots = Slots(attn.SE, ["branch", "head"])
    assert slots.site("head", 64).attention_site == "head"
    assert not hasattr(slots.site("post", 64), "attention_site")


def test_a_site_that_is_not_chosen_is_the_identity():
    slots = Slots(attn.SE, ["branch", "head"])
    chosen = {site for site in SITES if isinstance(slots.site(site, 64), attn.SE)}
    assert chosen == {"branch", "head"}
    assert all(type(slots.site(site, 64)) is nn.Identity for site in set(SITES) - chosen)


def test_unknown_sites_are_refused_with_the_choices():
    choices = "choose from prenorm, inner, branch, identity, post, stage, head"
    with pytest.raises(ValueError, match=f"sites has after, before: {choices}"):
        Slots(sites=["branch", "before", "after"])


@pytest.mark.parametrize("image_size", [32, 45, 64])
@pytest.mark.parametrize("stem", ["cifar", "imagenet"])
@pytest.mark.parametrize("net", BACKBONES)
def test_told_channels_and_size_are_those_of_the_map(probe, net, stem, image_size):
    build = partial(BACKBONES[net], stem=stem, image_size=image_size, slots=Slots(probe, SITES))
    whole = build().eval()
    whole(torch.randn(1, 3, image_size, image_size))
    probes = [m for m in whole.modules() if isinstance(m, probe)]
    assert [(m.told[0], m.told[2]) for m in probes] == [m.met[0] for m in probes]


@pytest.mark.parametrize("net", BACKBONES)
def test_told_stages_count_from_one_and_never_fall(probe, net):
    whole = BACKBONES[net](slots=Slots(probe, SITES))
    stages = [m.told[1] for m in whole.modules() if isinstance(m, probe)]
    assert stages == sorted(stages)
    assert sorted(set(stages)) == list(range(1, 4 if net == "padded" else 5))


def test_stage_site_belongs_to_the_stage_it_ends(probe):
    for net in BACKBONES:
        whole = BACKBONES[net](slots=Slots(probe, ["stage"]))
        stages = [m.told[1] for m in whole.modules() if isinstance(m, probe)]
        assert stages == ([1, 2] if net == "padded" else [1, 2, 3]), net
