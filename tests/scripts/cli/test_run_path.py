import pytest
from omegaconf import OmegaConf

from engine.errors import ConfigError
from scripts.cli.run_path import LONGEST, _data_name, _short, changes

KNOWN = {"seed": 0, "out": "runs", "sites": ["branch"], "recipe": {"lr": 0.1, "epochs": 5}}


def said(**options):
    return changes(OmegaConf.create(KNOWN | options), OmegaConf.create(KNOWN))


def test_a_run_is_named_by_what_sets_it_apart():
    assert said() == ""
    assert said(sites=["stage", "post"]) == "sites=stage+post"
    assert said(sites=[{"branch": [3, 4]}, "post"]) == "sites=branch.3.4+post"
    assert said(recipe={"lr": 0.1, "epochs": 3}) == "recipe.epochs=3"
    assert said(sites=[], recipe={"lr": 1, "epochs": 3}) == "sites=,recipe.lr=1,recipe.epochs=3"


def test_a_run_is_named_by_the_seeds_of_its_parts():
    none = dict.fromkeys(("seed_init", "seed_order"))
    given = OmegaConf.create(KNOWN | none | {"seed": 2, "seed_order": 0})
    assert changes(given, OmegaConf.create(KNOWN | none)) == "seed_order=0"


def test_saying_what_is_so_anyway_changes_nothing():
    assert said(sites=["branch"], recipe={"lr": 0.1, "epochs": 5}) == ""


def test_seed_and_machine_are_no_part_of_the_name():
    assert said(seed=3, out="elsewhere", device="cuda", data={"root": "/x"}) == ""


def test_values_make_safe_folder_names():
    assert said(model="a/b c") == "model=a_b_c"


def test_long_names_are_cut_and_stay_different():
    long = [_short("x" * 300 + end)[0] for end in "ab"]
    assert long[0] != long[1]
    assert max(map(len, long)) <= LONGEST + 9


def test_of_pretrained_weights_the_name_of_the_file_is_told_and_not_its_folder():
    assert said(model={"weights": "/tmp/a b/y.pth"}) == "model.weights=y.pth"


@pytest.mark.parametrize(
    ("data", "choice", "name"),
    [
        ({"root": "/x/flowers", "name": None}, "folder", "flowers"),
        ({"root": "/x/flowers/", "name": None}, "folder", "flowers"),
        ({"root": "/x/flowers", "name": "roses 2"}, "folder", "roses 2"),
        ({"root": "/x/flowers", "name": None}, "imagenet", "imagenet"),
        ({"root": "/x/flowers", "name": "birds"}, "imagenet", "birds"),
        ({"root": "data", "name": "cifar10"}, "cifar10", "cifar10"),
        ({}, "digits", "digits"),
    ],
)
def test_runs_lie_below_the_name_of_their_data(data, choice, name):
    assert _data_name(data, choice) == name


@pytest.mark.parametrize("name", ["cifar100", "../x", "a/b", "..", "a\nb", ".hidden", "", 5])
def test_a_name_of_other_data_or_a_path_is_no_name(name):
    with pytest.raises(ConfigError, match="another name"):
        _data_name({"root": "/x", "name": name}, "folder")
