"""The configuration of a stored run, which a stranger may have written."""

import os

import pytest
import yaml

from engine.errors import ConfigError
from scripts.cli.saved_run import load_config

RECIPE = {"_target_": "engine.training.Recipe", "epochs": 1}
DATA = {"_target_": "engine.datasets.Digits", "num_classes": 10, "image_size": 8}
MODEL = {"_target_": "models.resnet20", "num_classes": 10}
WHOLE = {"data": DATA, "model": MODEL, "recipe": RECIPE, "seed": 0, "precision": "fp32"}


def stored(folder, content):
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    (folder / "config.yaml").write_text(text)
    return str(folder)


def test_a_whole_configuration_is_read_and_its_weights_are_the_runs(tmp_path):
    config = load_config(stored(tmp_path, WHOLE | {"model": MODEL | {"weights": "x.pth"}}), None)
    assert config.model.weights is None
    assert config.data.image_size == 8


ODD = {
    "a syntax error": ("data: [", "cannot be read: line"),
    "an object of Python": ("data: !!python/object:os.system {}", "cannot be read: line 1"),
    "a key given twice": (yaml.safe_dump(WHOLE) + "seed: 1\n", "the key seed is there twice"),
    "an interpolation": (WHOLE | {"out": "${oc.env:HOME}"}, r"holds \$\{...\}"),
    "data is a number": (WHOLE | {"data": 5}, "data is no group of options"),
    "no model": ({k: v for k, v in WHOLE.items() if k != "model"}, "model is no group"),
    "a seed in words": (WHOLE | {"seed": "one"}, "seed=one: expected a whole number"),
    "a seed that is none": (WHOLE | {"seed": -1}, "seed=-1: expected a whole number"),
    "a seed without end": (WHOLE | {"seed": 10**30}, "expected a whole number"),
    "a target outside": (WHOLE | {"data": {"_target_": "os.system"}}, "os.system is not allowed"),
    "an option nobody reads": (WHOLE | {"recipe": RECIPE | {"lrr": 1}}, "did you mean recipe.lr"),
    "an origin of another form": (WHOLE | {"made_from": {"classes": 3}}, "made_from is damaged"),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_configuration_is_answered_in_one_line(case, tmp_path):
    content, said = ODD[case]
    folder = stored(tmp_path, content)
    with pytest.raises(ConfigError, match=said) as refusal:
        load_config(folder, None)
    assert "\n" not in str(refusal.value)


def test_a_pipe_in_place_of_the_configuration_is_waited_for_by_nobody(tmp_path):
    os.mkfifo(tmp_path / "config.yaml")
    with pytest.raises(ConfigError, match="no regular file"):
        load_config(str(tmp_path), None)


def test_images_beside_the_runs_are_found_from_any_folder(tmp_path, monkeypatch):
    run = tmp_path / "work" / "runs" / "flowers" / "seed0"
    run.mkdir(parents=True)
    folder = {"_target_": "engine.datasets.Folder", "root": "images", "num_classes": 2}
    stored(run, WHOLE | {"out": "runs", "data": folder | {"image_size": 8}})
    assert load_config(str(run), None).data.root == "images", "nothing is there"
    (tmp_path / "work" / "images").mkdir()
    assert load_config(str(run), None).data.root == str(tmp_path / "work" / "images")
    assert load_config(str(run), "elsewhere").data.root == "elsewhere"
    monkeypatch.chdir(tmp_path / "work")
    assert load_config("runs/flowers/seed0", None).data.root == "images"


def test_a_root_for_data_without_a_folder_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="lies in no folder"):
        load_config(stored(tmp_path, WHOLE), "/somewhere")
