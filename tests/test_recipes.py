"""The values of each recipe, and the options that files in conf/recipe may leave out."""

import math
from pathlib import Path

import pytest
import torch
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from engine.training.ema import ModelEMA, NoEMA
from engine.training.recipe import Recipe
from scripts.cli.compose import build, defaults_of
from scripts.cli.overrides import CONF
from scripts.cli.recipe_files import RECIPE, completed
from scripts.cli.run_path import changes, run_directory
from scripts.cli.targets import defaults

GOLDEN = yaml.safe_load(Path(__file__).with_name("recipes.yaml").read_text())
NAMES = sorted(file.stem for file in (CONF / "recipe").glob("*.yaml"))


@pytest.fixture(autouse=True)
def _hydra():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def composed(*words):
    cfg = compose("train", ["data=digits", *words], return_hydra_config=True)
    choices = dict(cfg.hydra.runtime.choices)
    OmegaConf.set_struct(cfg, False)
    cfg.pop("hydra")
    return cfg, choices


@pytest.mark.parametrize("name", NAMES)
def test_each_value_of_a_recipe_is_the_value_of_its_source(name):
    recipe = OmegaConf.to_container(composed(f"recipe={name}")[0].recipe)
    assert recipe == GOLDEN[name]
    assert list(recipe) == list(GOLDEN[name]), "the order is part of a run's identity"


def rate(golden, epoch):
    """The learning rate after so many epochs; the warm-up must be over."""
    schedule, epochs = dict(golden["schedule"]), golden["epochs"]
    kind = schedule.pop("_target_").removeprefix("engine.training.")
    if kind == "Step":
        factor = schedule["gamma"] ** sum(
            epoch >= milestone for milestone in schedule["milestones"]
        )
    elif kind == "Exponential":
        factor = schedule["gamma"] ** epoch
    elif kind == "Cosine":
        factor = (1 + math.cos(math.pi * epoch / epochs)) / 2
    else:  # OneCycle: from 0.04 up to 1 at 30 %, then down to 4e-6, as torch's OneCycleLR
        start, end, part = 0.04, 1.0, epoch / (0.3 * epochs)
        if part >= 1:
            start, end, part = 1.0, 4e-6, (epoch - 0.3 * epochs) / (0.7 * epochs)
        factor = end + (start - end) * (1 + math.cos(math.pi * part)) / 2
    return golden["lr"] * factor


@pytest.mark.parametrize("name", NAMES)
def test_each_recipe_builds_what_it_says(name):
    golden = GOLDEN[name]
    built = build(composed(f"recipe={name}")[0].recipe)
    first = golden["warmup_epochs"]
    epochs = {first, golden["epochs"] - 1, *golden["schedule"].get("milestones", [])}
    for epoch in sorted(epochs | {max(epoch - 1, first) for epoch in epochs}):
        assert built.lr_at(epoch * 100, 100) == pytest.approx(rate(golden, epoch)), epoch
    if first:
        assert built.lr_at(0, 100) == pytest.approx(golden["lr"] / (100 * first), rel=1e-4)
    options = {key: value for key, value in golden["optimizer"].items() if key[0] != "_"}
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    optimizer = built.make_optimizer(net)
    assert type(optimizer).__name__ == golden["optimizer"]["_target_"].rpartition(".")[2]
    assert {key: optimizer.param_groups[0][key] for key in options} == options
    decays = list(dict.fromkeys(group["weight_decay"] for group in optimizer.param_groups))
    assert decays == [options["weight_decay"]] + [0.0] * (not golden["decay_norms"])
    assert isinstance(built.make_average(net), NoEMA if golden["ema"] is None else ModelEMA)


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_file_does_not_repeat_a_default(name):
    written = yaml.safe_load((CONF / "recipe" / f"{name}.yaml").read_text())
    repeated = {key: value for key, value in defaults(RECIPE).items() if key in written}
    assert all(written[key] != value for key, value in repeated.items())
    assert "augment" in written, "its default is no literal, so that nothing fills it in"


def test_the_defaults_read_from_the_source_are_the_defaults_of_the_class():
    found = defaults(RECIPE)
    assert len(found) == 12
    assert all(getattr(Recipe, key) == value for key, value in found.items())


def test_a_default_on_the_command_line_changes_no_run():
    said = ("++recipe.mixup=0.0", "++recipe.ema=null", "++recipe.warmup_epochs=0")
    before = run_directory(*composed("recipe=digits"))
    after = run_directory(*composed("recipe=digits", *said))
    assert after.path == before.path
    assert after.fingerprint == before.fingerprint
    assert before.config["recipe"] == GOLDEN["digits"], "config.yaml stores every value"


def test_an_option_that_the_file_leaves_out_names_the_run_where_it_is_changed():
    cfg, choices = composed("recipe=digits", "++recipe.mixup=0.2", "++recipe.warmup_epochs=1")
    assert changes(cfg, defaults_of("train", choices)) == "recipe.warmup_epochs=1,recipe.mixup=0.2"


def test_a_recipe_that_changes_another_one_keeps_the_values_of_the_other_one(tmp_path):
    text = f"defaults: [imagenet_a3, _self_]\n_target_: {RECIPE}\nlr: 0.5\n"
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "mine.yaml").write_text(text)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg, _ = composed(f"hydra.searchpath=[{tmp_path}]", "recipe=mine")
    assert (cfg.recipe.lr, cfg.recipe.mixup, cfg.recipe.sparsity) == (0.5, 0.1, 0.0)
    unread = OmegaConf.create(yaml.safe_load(text))
    assert completed(unread) == unread


def test_an_unknown_option_of_a_recipe_file_is_kept_for_the_check_of_names():
    assert completed(OmegaConf.create({"_target_": RECIPE, "mixin": 1}))["mixin"] == 1


def test_another_class_stays_as_it_is():
    other = OmegaConf.create({"_target_": "engine.mine.Recipe", "lr": 1})
    assert completed(other) == other
