from pathlib import Path

import pytest

from engine.errors import ConfigError
from scripts.cli.overrides import flags_last, parse_overrides, sweep_values, to_hydra


def test_to_hydra_leaves_choices_flags_and_hydras_own_alone():
    same = ["attn=nam", "-m", "--cfg", "hydra.verbose=true", "hydra/launcher=joblib", "~attn", "x"]
    assert [to_hydra(argument) for argument in same] == same
    assert to_hydra("+experiment=a") == "experiment=a"
    assert to_hydra("recipe.lr=1") == to_hydra("+recipe.lr=1") == "++recipe.lr=1"


def test_to_hydra_quotes_what_is_no_choice_so_that_the_group_is_named():
    for value in ("null", "true", "3", "-1", "[se,nam]"):
        assert to_hydra(f"attn={value}") == f"attn='{value}'"
    same = ["attn=se,nam", "attn=glob(e*)", "attn='se'", "attn=", "attn=choice(se,nam)"]
    assert [to_hydra(argument) for argument in same] == same


def test_to_hydra_quotes_letters_that_hydras_grammar_has_not():
    assert to_hydra("out=übung") == "++out='übung'"
    assert to_hydra("attn=ném") == "attn='ném'"


def test_to_hydra_quotes_paths_that_hydras_grammar_would_not_take(tmp_path):
    odd = tmp_path / "a b"
    odd.mkdir()
    assert to_hydra("run=runs/x/recipe.epochs=3/seed0") == "++run='runs/x/recipe.epochs=3/seed0'"
    assert to_hydra(f"data.root={odd}") == f"++data.root='{odd}'"
    assert to_hydra("data.root=a/b,c/d") == "++data.root=a/b,c/d"  # a sweep


def test_to_hydra_quotes_the_paths_of_a_list(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for folder in ("r/lr=1,epochs=3/seed0", "r/plain"):
        Path(folder).mkdir(parents=True)
    wanted = "++vs=['r/lr=1,epochs=3/seed0','r/plain']"
    assert to_hydra("vs=[r/lr=1,epochs=3/seed0,r/plain]") == wanted
    assert to_hydra(wanted) == wanted
    assert to_hydra("vs=[r/lr=2/seed0]") == "++vs=['r/lr=2/seed0']"
    assert to_hydra("vs=[a/b,c/d]") == "++vs=[a/b,c/d]"


def test_lists_and_words_are_told_apart_as_in_a_sweep():
    assert sweep_values("stages", "[3,4]") == ["[3,4]"]
    assert sweep_values("stages", "[],[3,4]") == ["[]", "[3,4]"]
    assert sweep_values("seed", "range(3)") == ["0", "1", "2"]
    assert sweep_values("data.root", "/a=b/c") == ["/a=b/c"]
    assert sweep_values("recipe.lr", "0.1,1e-3") == ["0.1", "0.001"]


def test_a_value_that_is_none_is_refused():
    with pytest.raises(ConfigError, match=r"model=a=b: this value cannot be read"):
        sweep_values("model", "a=b")


@pytest.mark.parametrize(
    ("words", "ordered"),
    [
        (["a=1", "-m", "b=2"], ["a=1", "b=2", "-m"]),
        (["--cfg", "job", "a=1"], ["a=1", "--cfg", "job"]),
        (["--info", "a=1"], ["a=1", "--info"]),
        (["--info", "config", "a=1"], ["a=1", "--info", "config"]),
        (["-c", "job", "-p", "recipe", "a=1"], ["a=1", "-c", "job", "-p", "recipe"]),
        (["a", "b"], ["a", "b"]),
    ],
)
def test_words_come_before_flags(words, ordered):
    assert flags_last(words) == ordered


@pytest.mark.parametrize(
    ("old", "new"), [("tail.devices", "epilogue.devices"), ("data.path", "data.root")]
)
def test_a_script_takes_old_names_of_options_too(old, new):
    assert parse_overrides([f"{old}=a"]) == {new: "a"}
    assert to_hydra(f"{old}=a") == f"++{new}=a"
