from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import pytest

from engine.errors import ConfigError
from scripts.cli.type_check import check_options, check_values, describe, fits


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (3, int),
        (3, float),
        (3.5, float),
        (10**31, float),
        (True, bool),
        ("a", str),
        (None, int | None),
        ([1, 2], Sequence[int]),
        ([1, 2], int | Sequence[int] | None),
        ([], tuple[str, ...]),
        ("a", Literal["a", "b"]),
        ({"_target_": "x"}, Callable[..., Any]),
        ({"branch": [3, 4]}, Mapping[str, Sequence[int]]),
        ([{"branch": [3, 4]}, "post"], Sequence[str | Mapping[str, Sequence[int]]]),
        (object, Any),
    ],
)
def test_values_that_fit(value, annotation):
    assert fits(value, annotation)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (True, int),
        (1, bool),
        (3.5, int),
        ("abc", float),
        (float("nan"), float),
        (float("inf"), float | None),
        (10**400, float),
        (10**31, int),
        (-(2**63), int),
        ("", str),
        (None, int),
        (1, str),
        ([1, "a"], Sequence[int]),
        ("ab", Sequence[str]),
        ("c", Literal["a", "b"]),
        ("adam", Callable[..., Any]),
        ({"branch": ["x"]}, Mapping[str, Sequence[int]]),
        ([["branch"]], Sequence[str | Mapping[str, Sequence[int]]]),
    ],
)
def test_values_that_do_not(value, annotation):
    assert not fits(value, annotation)


def test_annotations_in_words():
    assert describe(int | None) == "a whole number or null"
    assert describe(Sequence[str]) == "a list [...], each a word"
    assert describe(Literal["a", "b"]) == "one of a, b"


def test_the_option_is_named_wherever_it_is():
    config = {"schedule": {"_target_": "engine.training.schedule.Step", "milestones": [1, "x"]}}
    with pytest.raises(
        ConfigError, match=r"^recipe\.schedule\.milestones=\[1, 'x'\]: expected a list"
    ):
        check_values(config, "recipe")


def test_options_of_a_script_are_held_against_their_kinds():
    check_options({"run": True, "other": 3}, {"run": bool})
    for options in ({"run": "maybe"}, {"run": None}, {}):
        with pytest.raises(ConfigError, match=r"^run=.*: expected true or false$"):
            check_options(options, {"run": bool})
