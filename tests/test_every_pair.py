"""Every network of conf/model takes every attention of conf/attn, or refuses it in one line.

A network asks for attention through its slots. What one network asks for, other networks ask for
too, so each distinct request of all networks is answered once by each mechanism. Each whole network
is built once, with a mechanism in every slot; tests/models/test_cost.py builds ResNet-50 with each.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

import attn
from engine.errors import ConfigError
from models.slots import SITES, Slots
from scripts.cli.compose import build, check_names, count_classes
from scripts.cli.overrides import CONF

MODELS = sorted(file.stem for file in (CONF / "model").glob("*.yaml"))
ATTENTIONS = sorted(file.stem for file in (CONF / "attn").glob("*.yaml"))

NARROW = {"resnet8", "resnet20", "resnet32", "resnet56", "resnet110"}  # 16 channels end a branch
MOBILE = {
    "mobilenet_v2", "mobilenet_v2_pytorch_cifar100", "mobilenet_v3_large", "mobilenet_v3_small",
}  # fmt: skip
GROUPED = NARROW | MOBILE | {"mobilenet_v1", "preact_resnet164", "resnet83", "resnet164"}
REFUSED = {  # groups that do not divide the channels
    "ema": NARROW | MOBILE,
    "psa": GROUPED,
    "shuffle": GROUPED | {"aff_resnet32", "resnet18", "resnet34"},
}


@dataclass(frozen=True)
class Request:
    """One call of a slot's factory, and the shape of each map that the module then gets."""

    slot: str
    channels: tuple[int, ...]
    told: tuple[tuple[str, object], ...]
    shapes: tuple[torch.Size, ...]
    out: torch.Size

    def answer(self, factory: Callable[..., nn.Module]) -> None:
        """Build the module and run it; ValueError where it refuses."""
        facts = dict(self.told)
        slots = Slots(stage=facts.pop("stage"), size=facts.pop("size"))
        module = slots.build(self.slot, factory, *self.channels, **facts)
        assert module(*(torch.empty(shape) for shape in self.shapes)).shape == self.out


@dataclass(frozen=True)
class RecordingSlots(Slots):
    """Plain slots that note each request in `requests`."""

    requests: list[Request] = field(default_factory=list)

    def build(self, slot, factory, *args, **own):
        module = super().build(slot, factory, *args, **own)
        told = {"stage": self.stage, "size": self.size, **own}

        def note(_, inputs, output):
            shapes = tuple(image.shape for image in inputs)
            self.requests.append(Request(slot, args, tuple(told.items()), shapes, output.shape))

        module.register_forward_hook(note)
        return module


@pytest.fixture(autouse=True, scope="module")
def _hydra():
    OmegaConf.register_new_resolver("classes", count_classes, replace=True)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@functools.cache
def composed(**choices):
    return compose("train", [f"{group}={name}" for group, name in choices.items()])


def pair(model, name):
    """The configuration of a network with an attention, which wins where both choose."""
    cfg = composed(model=model).copy()
    for key, value in OmegaConf.load(CONF / "attn" / f"{name}.yaml").items_ex(resolve=False):
        cfg[key] = value
    return cfg


@functools.cache
def requests(model):
    cfg = composed(model=model).copy()
    cfg.model.slots = None
    slots, network = RecordingSlots(sites=SITES), instantiate(cfg.model, _partial_=True)
    with torch.device("meta"):
        network(slots=slots).eval()(torch.empty(2, 3, 32, 32))
    return frozenset(slots.requests)


def filled(name):
    """(the slots that an attention fills, what makes a factory of its modules)."""
    cfg = composed(attn=name)
    kind = {"fusion", "conv", "norm"} & {*OmegaConf.load(CONF / "attn" / f"{name}.yaml")}
    return kind or set(cfg.sites), functools.partial(instantiate, cfg.attn)


@pytest.mark.parametrize("name", ATTENTIONS)
def test_every_attention_is_spelt_right(name):
    model = MODELS[ATTENTIONS.index(name) % len(MODELS)]
    cfg = compose("train", [f"model={model}", f"attn={name}"])
    check_names(cfg, composed(attn=name))
    assert pair(model, name) == cfg


@pytest.mark.parametrize("name", ATTENTIONS)
def test_every_request_is_answered_or_its_networks_are_known_to_be_refused(name):
    slots, make_factory = filled(name)
    refusing = set()
    for request in {r for model in MODELS for r in requests(model) if r.slot in slots}:
        try:
            with torch.device("meta"):
                request.answer(make_factory())
        except ValueError:
            refusing.add(request)
    refused = {model for model in MODELS if requests(model) & refusing}
    assert refused == REFUSED.get(name, set())


WITHOUT_SHORTCUT = {"mobilenet_v1"}


@pytest.mark.parametrize("model", MODELS)
def test_every_network_passes_its_maps_through_all_four_slots(model):
    fusion = {} if model in WITHOUT_SHORTCUT else {"fusion": partial(attn.AFF, reduction=4)}
    slots = Slots(attn.NAM, ["branch"], conv=attn.SK, norm=attn.IEBN, **fusion)
    cfg = composed(model=model).copy()
    cfg.model.slots = None
    with torch.device("meta"):
        net = instantiate(cfg.model, _partial_=True)(slots=slots)
    assert net(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 100)
    filled = {type(module) for module in net.modules()}
    assert {attn.NAM, attn.SK, attn.IEBN} <= filled
    assert (attn.AFF in filled) is (model not in WITHOUT_SHORTCUT)


def test_a_network_without_a_shortcut_refuses_a_fusion_in_one_line():
    with pytest.raises(ConfigError, match=r"^model: this network has no shortcut[^\n]*$"):
        build(pair("mobilenet_v1", "aff").model)


@pytest.mark.parametrize("model", ["resnet20", "resnet50", "mobilenet_v2"])
def test_blocks_that_share_a_cell_pass_it_on(model):
    with torch.device("meta"):
        net = build(pair(model, "dia").model)
    assert net(torch.empty(2, 3, 32, 32, device="meta")).shape == (2, 100)


@pytest.mark.parametrize(("model", "name"), [("resnet20", name) for name in REFUSED])
def test_a_refused_pair_is_told_in_one_line(model, name):
    with torch.device("meta"), pytest.raises(ConfigError, match=r"^model: [^\n]*$"):
        build(pair(model, name).model)
