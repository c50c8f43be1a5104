from functools import partial

import pytest
import torch
from torch import nn

import models
from models import SITES, Slots

SMALL = partial(models.resnet18, num_classes=3, stem="cifar")


class Marked(nn.Module):
    """A module for any slot; the test can see its arguments."""

    def __init__(self, *args: int, **told: object) -> None:
        super().__init__()
        self.args = args


class Fusion(Marked):
    def forward(self, shortcut, branch):
        return shortcut + branch


def stages_with(net: nn.Module, kind: type) -> list[int]:
    names = [name for name, m in net.named_modules() if isinstance(m, kind)]
    return sorted({int(name[len("layer")]) if name.startswith("layer") else 0 for name in names})


@pytest.mark.parametrize("slot", ["fusion", "conv", "norm"])
def test_stages_choose_where_a_slot_is_filled(slot):
    net = SMALL(slots=Slots(**{slot: Marked}, stages=[2, 4]))
    assert stages_with(net, Marked) == [2, 4]


def test_all_stages_and_the_stem_when_none_are_chosen():
    assert stages_with(SMALL(slots=Slots(norm=Marked)), Marked) == [0, 1, 2, 3, 4]
    assert stages_with(SMALL(slots=Slots(fusion=Marked)), Marked) == [1, 2, 3, 4]


@pytest.mark.parametrize(
    "sites",
    [
        {"branch": [3, 4], "stage": [1], "head": None},
        [{"branch": [3, 4]}, {"stage": [1]}, "head"],
        [{"branch": [3, 4], "stage": [1]}, {"head": None}],
    ],
)
def test_a_site_may_have_its_own_stages(sites):
    net = SMALL(slots=Slots(Marked, sites))
    names = [name for name, m in net.named_modules() if isinstance(m, Marked)]
    blocks = [f"layer{stage}.{block}.branch" for stage in (3, 4) for block in (0, 1)]
    assert names == ["layer1.2", *blocks, "head"]


def test_stages_narrow_those_of_a_site():
    slots = Slots(Marked, {"branch": [2, 3], "post": None}, stages=[3, 4])
    net = SMALL(slots=slots)
    names = {name for name, m in net.named_modules() if isinstance(m, Marked)}
    branches = {f"layer3.{block}.branch" for block in (0, 1)}
    assert names == branches | {f"layer{s}.{b}.post" for s in (3, 4) for b in (0, 1)}


@pytest.mark.parametrize("stages", [[1], [3, 4], [1, 2, 3, 4]])
def test_one_seed_is_one_backbone_whatever_the_stages(stages):
    torch.manual_seed(0)
    plain = SMALL().state_dict()
    torch.manual_seed(0)
    slots = Slots(partial(nn.Linear, 8), SITES, stages=stages)
    state = SMALL(slots=slots).state_dict()
    assert all(torch.equal(state[key], plain[key]) for key in plain)


def test_neighbouring_sites_do_not_share_their_initial_weights():
    block = SMALL(slots=Slots(partial(nn.Linear, 8), ["identity", "post"])).layer1[0]
    assert not torch.equal(block.identity.weight, block.post.weight)


def test_what_the_networks_plain_layer_has_is_told_to_those_who_ask():
    norm = Slots().at(1, 8).make_norm(4, eps=0.5, momentum=0.25)
    assert (norm.eps, norm.momentum) == (0.5, 0.25)
    conv = Slots().at(1, 8).make_conv3x3(4, 4, 1, kernel_size=5, bias=True)
    assert (conv.kernel_size, conv.padding) == ((5, 5), (2, 2))
    assert not conv.bias.any()


def test_the_users_word_counts_above_the_networks():
    slots = Slots(norm=partial(nn.BatchNorm2d, eps=0.125))
    assert slots.make_norm(4, eps=0.5).eps == 0.125


def test_networks_are_built_on_the_meta_device():
    with torch.device("meta"):
        net = SMALL(slots=Slots(nn.BatchNorm2d, ["branch"]))
    assert all(p.is_meta for p in net.parameters())


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"stages": [0, 3]}, "stages has 0: choose from 1, 2, 3, 4"),
        ({"stages": [5]}, "stages has 5: choose from 1, 2, 3, 4"),
        ({"sites": {"branch": [7]}}, "stages has 7: choose from 1, 2, 3, 4"),
        ({"sites": [{"after": [1]}]}, "sites has after: choose from prenorm, inner"),
    ],
)
def test_unknown_stages_and_sites_are_refused(choice, message):
    with pytest.raises(ValueError, match=message):
        Slots(**choice)


def test_a_stage_that_the_network_lacks_is_refused():
    with pytest.raises(ValueError, match="stages has 4: choose from 1, 2, 3"):
        models.resnet20(slots=Slots(stages=[3, 4]))
