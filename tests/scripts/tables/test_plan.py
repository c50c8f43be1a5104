import json
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from engine.errors import ConfigError
from report.records import COUNTS, LABELS, PERCENT
from scripts.cli.compose import UnknownName, count_classes
from scripts.cli.overrides import parse_overrides
from scripts.tables.launch import (
    describe_missing,
    estimate_seconds,
    find_record,
    format_duration,
    missing_runs,
    sweep_arguments,
)
from scripts.tables.plan import check_table, label_overrides, plan_sections, seeds_of

CONF = Path(__file__).parents[3] / "conf"
TABLE = {
    "settings": {"data": "digits", "model": ["resnet20", "resnet32"], "recipe": "digits"},
    "rows": {"none": "attn=none", "se4": "attn=se attn.reduction=4", "nam": "attn=nam"},
}


@pytest.fixture(autouse=True)
def _hydra(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    OmegaConf.register_new_resolver("classes", count_classes, replace=True)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def test_a_setting_with_several_values_makes_a_comparison_for_each():
    plan = plan_sections(TABLE, {}, [0, 1])
    assert [section.title for section in plan] == [
        "digits, resnet20, recipe digits", "digits, resnet32, recipe digits",
    ]  # fmt: skip
    assert list(plan[0].rows) == ["none", "se4", "nam"]
    paths = [str(run.folder.path) for run in plan[1].rows["se4"]]
    assert paths == [f"runs/digits/resnet32/se/digits/attn.reduction=4/seed{i}" for i in (0, 1)]


def test_the_command_line_changes_every_run():
    (section,) = plan_sections(
        TABLE, {"model": "resnet56", "recipe.epochs": "2", "out": "here"}, [5]
    )
    assert section.title == "digits, resnet56, recipe digits, recipe.epochs=2"
    assert section.model == "resnet56"
    (run,) = section.rows["none"]
    assert str(run.folder.path) == "here/digits/resnet56/none/digits/recipe.epochs=2/seed5"
    assert (run.epochs, run.seed) == (2, 5)


def test_rows_are_chosen_by_their_names_or_made_of_an_attention():
    (section,) = plan_sections(TABLE, {"model": "resnet20", "attn": "none,se4,eca"}, [0])
    assert [runs[0].overrides["attn"] for runs in section.rows.values()] == ["none", "se", "eca"]


def test_a_misspelt_name_is_refused_with_the_nearest():
    with pytest.raises(UnknownName, match=r"did you mean recipe\.epochs\?"):
        plan_sections(TABLE, {"recipe.epoch": "2"}, [0])
    with pytest.raises(ConfigError, match="write run=VALUE"):
        parse_overrides(["run"])


def test_a_run_goes_by_the_same_name_as_when_train_py_makes_it():
    (section,) = plan_sections(TABLE, {"model": "resnet20"}, [3])
    for runs in section.rows.values():
        assert runs[0].folder.config["seed"] == runs[0].folder.labels["seed"] == 3
        assert "hydra" not in runs[0].folder.config


def test_what_is_of_the_machine_is_in_no_name():
    said = {"recipe.epochs": "2", "data.root": "/data", "out": "x", "hydra/launcher": "joblib"}
    assert label_overrides(said) == "recipe.epochs=2"


def test_the_missing_runs_make_as_few_sweeps_as_can_be():
    missing = missing_runs(plan_sections(TABLE, {"model": "resnet20"}, [0, 1]))
    assert len(missing) == 6
    plain, with_option = sweep_arguments(missing)
    assert plain[-2:] == ["seed=0,1", "attn=none,nam"]
    assert with_option[-3:] == ["attn.reduction=4", "seed=0,1", "attn=se"]


def test_the_time_to_come_is_that_of_the_most_similar_finished_runs():
    (section,) = plan_sections(TABLE, {"model": "resnet20", "recipe.epochs": "4"}, [0])
    run = section.rows["nam"][0]
    alike = {"data": "digits", "model": "resnet20", "recipe": "digits", "other": "", "epochs": 2}
    none = alike | {"attn": "none", "train_seconds": 20.0}
    nam = alike | {"attn": "nam", "train_seconds": 30.0}
    assert estimate_seconds(run, []) is None
    assert estimate_seconds(run, [nam | {"model": "resnet56"}]) is None
    assert estimate_seconds(run, [none]) == 40
    assert estimate_seconds(run, [none, nam]) == 60
    run.folder.path.mkdir(parents=True)
    (run.folder.path / "metrics.jsonl").write_text("{}\n")
    assert estimate_seconds(run, [nam]) == 45
    text = describe_missing([section], missing_runs([section]), [nam])
    assert "missing: 3 of 3 runs, about 3 min one after another" in text
    assert "nam: seeds 0 (at epoch 1 of 4)" in text


def test_a_result_of_another_configuration_is_none_of_the_table_s():
    (section,) = plan_sections(TABLE, {"model": "resnet20"}, [0])
    run = section.rows["none"][0]
    run.folder.path.mkdir(parents=True)
    for fingerprint, reason in ((run.folder.fingerprint, ""), ("x", "another configuration")):
        result = (
            dict.fromkeys((*COUNTS, *PERCENT, "seed"), 1)
            | dict.fromkeys(LABELS[:-1], "x")
            | {"config": fingerprint}
        )
        (run.folder.path / "result.json").write_text(json.dumps(result))
        found, why = find_record(run)
        assert (found is None, run in missing_runs([section])) == (bool(reason), bool(reason))
        assert reason in why


@pytest.mark.parametrize(
    ("value", "words"), [(7, "7 s"), (89, "89 s"), (600, "10 min"), (7200, "2.0 h"), (1e6, "12 d")]
)
def test_durations_read_well(value, words):
    assert format_duration(value) == words


GOOD = {
    "title": "t", "baseline": "none", "seeds": 2, "rows": {"none": "attn=none"},
    "settings": {"data": "digits", "model": "resnet20", "recipe": "digits"},
}  # fmt: skip
WRONG_TABLES = {
    "no seeds": ({"seeds": None}, "table.seeds=None: expected"),
    "half a seed": ({"seeds": 1.5}, "table.seeds=1.5: expected"),
    "seeds that are a word": ({"seeds": "abc"}, "table.seeds=abc: expected"),
    "a seed that is a word": ({"seeds": [0, "a"]}, "table.seeds=[0, 'a']: expected"),
    "seeds that are true": ({"seeds": True}, "table.seeds=True: expected"),
    "an unknown key": ({"remark": ["x"]}, "table.remark: unknown key; did you mean remarks?"),
    "remarks that are a number": ({"remarks": 5}, "table.remarks=5: expected"),
    "no recipe": ({"settings": {"data": "digits", "model": "m"}}, "table.settings.recipe is"),
    "an unclosed quote": ({"rows": {"none": "attn='none"}}, "table.rows.none: No closing"),
    "a word without a value": ({"rows": {"none": "attn"}}, "table.rows.none: attn: write"),
    "a seed in a row": ({"rows": {"none": "attn=none seed=5"}}, "has attn=... and no seed"),
    "a row without attention": ({"rows": {"none": "model=resnet20"}}, "has attn=... and no seed"),
    "rows that are a list": ({"rows": ["attn=none"]}, "table.rows=['attn=none']: expected"),
}


@pytest.mark.parametrize("case", WRONG_TABLES)
def test_a_wrong_key_of_a_table_is_named(case):
    changes, words = WRONG_TABLES[case]
    with pytest.raises(ConfigError) as refused:
        check_table(GOOD | changes)
    assert words in str(refused.value)


def test_control_a_good_table_is_taken():
    check_table(GOOD)


@pytest.mark.parametrize(
    ("planned", "said", "seeds"),
    [
        (3, None, [0, 1, 2]),
        ([0, 5], None, [0, 5]),
        (3, 2, [0, 1]),
        (3, [4, 2], [4, 2]),
        (3, "+2", [0, 1, 2, 3, 4]),
        ([0, 2, 5], "+3", [0, 2, 5, 1, 3, 4]),
    ],
)
def test_seeds_are_the_tables_or_those_said_or_more(planned, said, seeds):
    assert seeds_of(planned, said) == seeds


@pytest.mark.parametrize("said", [0, [], [-1], [1, 1], "+0", "abc", "+1e9", "3"])
def test_other_seeds_are_refused(said):
    with pytest.raises(ConfigError, match="seeds="):
        seeds_of(3, said)
