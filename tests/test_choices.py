"""The values of the choices in conf, and their effect on models."""

from functools import partial
from pathlib import Path

import pytest
import torch
import yaml
from torch import nn

import attn
import models
from models import Slots

ROOT = Path(__file__).parents[1]
GOLDEN = yaml.safe_load((ROOT / "tests/choices.yaml").read_text())
GROUPS = ("model", "attn", "data", "experiment")
CHOICES = [(group, name) for group in GROUPS for name in GOLDEN[group]]


def read(name):
    return yaml.safe_load((ROOT / "conf" / f"{name}.yaml").read_text())


@pytest.mark.parametrize(("group", "name"), CHOICES)
def test_each_value_of_a_choice_is_the_value_of_its_source(group, name):
    written = read(f"{group}/{name}")
    expected = GOLDEN[group][name]
    if group == "model":
        of_package = "model" in expected
        network = (expected["model"] if of_package else expected) | GOLDEN["every_model"]
        expected = expected | {"model": network} if of_package else network
    assert written == expected


@pytest.mark.parametrize("group", ["model", "attn", "data"])
def test_no_choice_is_without_its_values_here(group):
    """If this fails, add the values of the new choice and their source to choices.yaml."""
    assert {file.stem for file in (ROOT / "conf" / group).glob("*.yaml")} == set(GOLDEN[group])


def test_the_defaults_of_a_run():
    written = read("train")
    del written["hydra"]
    written["defaults"] = [d for d in written["defaults"] if "override" not in str(d)]
    assert written == GOLDEN["train"]
    assert read("slots") == GOLDEN["slots"]


@pytest.mark.parametrize("name", GOLDEN["table"])
def test_a_table_trains_under_its_settings_with_its_seeds(name):
    written = read(f"table/{name}")
    assert {key: written[key] for key in GOLDEN["table"][name]} == GOLDEN["table"][name]


MOBILE_V3 = ({(0.001, 0.01)}, {"ReLU", "Hardswish", "Hardsigmoid"})
NORM_AND_ACT = {  # ε and momentum of batch norm, activations; all others: torch's BN and ReLU
    "mobilenet_v2": ({(1e-5, 0.1)}, {"ReLU6"}),  # Sandler et al., 2018, Sec. 3
    "mobilenet_v2_pytorch_cifar100": ({(1e-5, 0.1)}, {"ReLU6"}),
    "mobilenet_v3_large": MOBILE_V3,  # Howard et al., 2019, Tables 1 and 2; torchvision's norm
    "mobilenet_v3_small": MOBILE_V3,
}


@pytest.mark.parametrize("name", GOLDEN["model"])
def test_a_model_has_the_dropout_the_norms_and_the_activations_of_its_source(name):
    golden = GOLDEN["model"][name]
    options = dict(golden.get("model", golden))
    build = getattr(models, options.pop("_target_").removeprefix("models."))
    options.pop("se", None)
    slots = Slots()
    if "conv" in golden:
        conv = {k: v for k, v in golden["conv"].items() if not k.startswith("_")}
        slots = Slots(conv=partial(getattr(attn, golden["conv"]["_target_"][5:]), **conv))
    with torch.device("meta"):
        net = build(num_classes=100, stem="cifar", image_size=32, slots=slots, **options)
    found = list(net.modules())
    norms = {(m.eps, m.momentum) for m in found if isinstance(m, nn.BatchNorm2d)}
    acts = (nn.ReLU, nn.ReLU6, nn.Hardswish, nn.Hardsigmoid)
    activations = {type(m).__name__ for m in found if isinstance(m, acts)}
    assert (norms, activations) == NORM_AND_ACT.get(name, ({(1e-5, 0.1)}, {"ReLU"}))
    dropouts = [m.p for m in found if isinstance(m, nn.Dropout)]
    assert dropouts == ([options["dropout"]] if "dropout" in options else [])
