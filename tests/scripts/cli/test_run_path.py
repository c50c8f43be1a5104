from omegaconf import OmegaConf

from scripts.cli.run_path import LONGEST, _short, changes

KNOWN = {"seed": 0, "out": "runs", "sites": ["branch"], "recipe": {"lr": 0.1, "epochs": 5}}


def said(**options):
    return changes(OmegaConf.create(KNOWN | options), OmegaConf.create(KNOWN))


def test_a_run_is_named_by_what_sets_it_apart():
    assert said() == ""
    assert said(sites=["stage", "post"]) == "sites=stage+post"
    assert said(sites=[{"branch": [3, 4]}, "post"]) == "sites=branch.3.4+post"
    assert said(recipe={"lr": 0.1, "epochs": 3}) == "recipe.epochs=3"
    assert said(sites=[], recipe={"lr": 1, "epochs": 3}) == "sites=,recipe.lr=1,recipe.epochs=3"


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
