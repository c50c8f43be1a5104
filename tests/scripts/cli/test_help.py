"""The help explains every option, in 80 columns."""

import pytest

from engine.errors import ConfigError
from scripts.cli.help import help_text, options_in
from scripts.cli.overrides import CONF, split_words

COMMANDS = ("train", "eval", "table", "cost", "speed", "cam", "export", "predict", "deploy")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_fits_a_screen_and_explains_its_options(command):
    said = help_text(command, ["--help"])
    lines = said.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 66
    assert "$" not in said
    options = list(options_in((CONF / f"{command}.yaml").read_text()))
    assert options
    for name, value, explanation in options:
        assert f"  {name}={value}" in said
        assert explanation, f"{name} has no comment in conf/{command}.yaml"
        assert explanation.split()[0] in said


def test_a_line_of_a_file_is_an_option_with_its_default_and_its_explanation():
    text = "# a: 1\na: 1  # one\nb:\n  _target_: x.Y\n  c: [1, 2]  # 2: 2\nd: ${a}\nhydra:\n  e: 1"
    assert list(options_in(text)) == [("a", "1", "one"), ("b.c", "[1, 2]", "2: 2")]


MODULES = sorted(file.stem for file in CONF.glob("attn/*.yaml"))


@pytest.mark.parametrize("name", MODULES)
def test_a_module_is_shown_with_formula_paper_and_options(name):
    said = help_text("train", ["--help", f"attn={name}"])
    assert max(map(len, said.splitlines())) <= 80
    assert said.startswith(f"attn={name}: ")
    for option, _, explanation in options_in((CONF / f"attn/{name}.yaml").read_text()):
        assert f"  {option}=" in said
        assert explanation or option == "sites"


def test_formula_and_paper_come_from_the_source():
    for words in (["--help", "attn=cbam"], ["attn=cbam", "-h"]):
        said = help_text("train", words)
        for part in (
            "x' = M_c(x)⊙x, y = M_s(x')⊙x'",
            "https://arxiv.org/abs/1807.06521",
            "  attn.pools=[avg, max]   some of avg, max, lp, lse\n",
            "prenorm, inner, branch",
        ):
            assert part in said


def test_a_recipe_shows_the_defaults_that_its_file_leaves_out():
    said = help_text("train", ["--help", "recipe=digits"])
    assert "  recipe.epochs=5\n" in said
    assert "  recipe.label_smoothing=0.0\n" in said
    assert "recipe._target_" not in said


def test_a_choice_that_does_not_exist_is_answered_in_one_line():
    with pytest.raises(ConfigError, match=r"unknown attn 'namm'; did you mean attn=nam\?"):
        help_text("train", ["--help", "attn=namm"])


def test_a_script_gets_all_words_beside_a_flag_for_help():
    assert split_words(["attn=cbam", "--help"], ["json"]) == (["attn=cbam", "--help"], {})


@pytest.mark.parametrize("flag", ["--hydra-help", "--cfg", "--info"])
def test_the_flags_of_hydra_stay(flag):
    assert help_text("train", [flag, "attn=cbam"]) is None
