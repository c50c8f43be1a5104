import copy
from functools import partial

import pytest
import torch
import torchvision
from torch import nn

import models
from attn import AFF, IEBN, NAM, SK, attach
from engine.errors import ConfigError
from engine.training.layer_groups import FrozenLayers, LayerGroups, lr_scales
from engine.training.loop import train_step
from engine.training.recipe import Recipe
from engine.training.run import Run
from engine.training.schedule import Constant


def slotted(**slots):
    torch.manual_seed(0)
    return models.resnet8(num_classes=3, slots=models.Slots(**slots))


def run_of(net, **options):
    sgd = partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-2)
    given = {"epochs": 2, "batch_size": 4, "lr": 0.1, "optimizer": sgd, "schedule": Constant()}
    return Run(net, Recipe(**given | options), 0, "cpu", "fp32")


def step(run, seed=0):
    """One update in training mode, from random images."""
    torch.manual_seed(seed)
    run.train_mode()
    train_step(run, torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 0]), 1)


def changed(before, after):
    return {key for key in before if not before[key].equal(after[key])}


@pytest.mark.parametrize(
    ("slots", "attention"),
    [
        ({"attn": NAM, "sites": ["branch"]}, "layer1.0.branch."),
        ({"fusion": AFF}, "layer1.0.fusion."),
        ({"conv": partial(SK)}, "layer2.0.conv1."),
        ({"norm": IEBN}, "bn1."),
    ],
)
def test_attention_is_what_fills_a_slot_and_the_last_linear_layer_is_the_classifier(
    slots, attention
):
    net = slotted(**slots)
    groups = LayerGroups(net)
    of_name = {name: groups.group(name) for name, _ in net.named_parameters()}
    inside = {name for name in of_name if name.startswith(attention)}
    assert inside
    assert {of_name[name] for name in inside} == {"attention"}
    assert {n for n, group in of_name.items() if group == "classifier"} == {"fc.weight", "fc.bias"}
    assert of_name["conv1.weight"] == "backbone"


def test_attention_of_attach_is_attention_and_a_linear_layer_of_it_is_no_classifier():
    net = torchvision.models.resnet18()
    attach(net, lambda channels: nn.Sequential(nn.Linear(channels, channels)), "head")
    groups = LayerGroups(net)
    assert groups.classifier == ["fc"]
    (name,) = [n for n, module in net.named_modules() if hasattr(module, "attention_site")]
    assert groups.group(f"{name}.0.weight") == "attention"
    net.fc = nn.Identity()
    assert LayerGroups(net).classifier == []


def test_each_group_has_its_learning_rate_and_the_last_entry_counts():
    net = slotted(attn=NAM, sites=["branch"])
    scales = lr_scales(net, {"backbone": 0.1, "classifier": 2.0, "layer3": 0.5})
    assert scales["conv1.weight"] == 0.1
    assert scales["layer1.0.branch.channel.bn.weight"] == 1.0
    assert scales["layer3.0.conv1.weight"] == 0.5
    assert scales["fc.bias"] == 2.0


@pytest.mark.parametrize("decay_norms", [True, False])
def test_an_update_is_scaled_by_group(decay_norms):
    """Plain SGD from the same gradient: the backbone moves a tenth, the classifier as before."""
    sgd, moves = partial(torch.optim.SGD), []
    for scales in (None, {"backbone": 0.1}):
        net = slotted(attn=NAM, sites=["branch"])
        before = copy.deepcopy(net.state_dict())
        step(run_of(net, optimizer=sgd, lr_scale=scales, decay_norms=decay_norms))
        moves.append({k: v - before[k] for k, v in net.named_parameters()})
    whole, scaled = moves
    for key, factor in {"conv1.weight": 0.1, "fc.weight": 1.0, "bn1.bias": 0.1}.items():
        torch.testing.assert_close(scaled[key], factor * whole[key], rtol=1e-3, atol=1e-7)


def test_without_scales_there_is_one_group_as_before():
    run = run_of(slotted())
    (group,) = run.optimizer.param_groups
    assert "lr_scale" not in group
    assert list(map(id, group["params"])) == list(map(id, run.model.parameters()))


def test_a_frozen_backbone_stays_bit_for_bit_with_its_running_statistics():
    net = slotted(attn=NAM, sites=["branch"])
    before = copy.deepcopy(net.state_dict())
    run = run_of(net, freeze=["backbone"], ema=0.9, clip_norm=1.0)
    for seed in range(2):
        step(run, seed)
    moved = changed(before, net.state_dict())
    assert {"fc.weight", "fc.bias", "layer1.0.branch.channel.bn.running_mean"} <= moved
    assert all(key.startswith("fc.") or ".branch." in key for key in moved)
    assert changed(before, run.eval_model.state_dict()) <= moved


def test_frozen_norms_normalize_with_their_running_statistics_in_every_epoch():
    run = run_of(slotted(), freeze=["layer1", "bn1"])
    for _ in range(2):
        run.model.eval()
        run.train_mode()
        assert not run.model.bn1.training
        assert not run.model.layer1[0].bn2.training
        assert run.model.layer2[0].bn1.training
        assert run.model.layer1.training


def test_momentum_of_scaled_groups_goes_on_after_a_checkpoint(tmp_path):
    options = {"lr_scale": {"backbone": 0.1}, "freeze": ["conv1"], "decay_norms": False}
    whole, first, second = (run_of(slotted(attn=NAM, sites=["branch"]), **options) for _ in "abc")
    step(whole, 0), step(whole, 1)
    step(first, 0)
    first.save(tmp_path)
    assert second.resume(tmp_path)
    step(second, 1)
    assert changed(whole.model.state_dict(), second.model.state_dict()) == set()


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("freeze", ["layer9"], "recipe.freeze: this network has no layer9; did you mean layer"),
        ("freeze", ["attention"], "recipe.freeze: attention: this network has no attention"),
        ("freeze", ["backbone", "classifier"], "nothing is left to train"),
        ("lr_scale", {"backbon": 0.1}, "recipe.lr_scale: .* no backbon; did you mean backbone?"),
        ("lr_scale", {"xyzzy": 0.1}, "choose from backbone, attention, classifier"),
    ],
)
def test_names_that_hold_no_layer_are_refused(option, value, words):
    with pytest.raises(ConfigError, match=words):
        run_of(slotted(), **{option: value})


def test_a_factor_must_be_positive():
    with pytest.raises(ValueError, match="lr_scale must be positive; to stop layers: freeze"):
        run_of(slotted(), lr_scale={"backbone": 0})


def test_nothing_is_frozen_without_names():
    net = slotted()
    assert FrozenLayers(net, []).norms == []
    assert all(parameter.requires_grad for parameter in net.parameters())
