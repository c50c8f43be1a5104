import os

import pytest

from engine.errors import ConfigError
from engine.storage.atomic import write_json
from engine.storage.run_dir import RunDir, flatten

CONFIG = {"data": {"name": "cifar100", "root": "here"}, "seed": 0, "device": "cpu"}
RESULT = {"top1": 1.0, "top5": 2.0}


def rundir(path, **changes):
    return RunDir(path / "runs" / "seed0", CONFIG | changes, {"attn": "nam"})


def test_a_finished_run_is_recognised(tmp_path):
    folder = rundir(tmp_path)
    assert folder.result() is None
    with folder.claim():
        write_json(folder.path / "result.json", RESULT)
    assert rundir(tmp_path).result() == RESULT


def test_another_configuration_is_refused_naming_what_differs(tmp_path):
    folder = rundir(tmp_path)
    with folder.claim():
        write_json(folder.path / "result.json", RESULT)
    with pytest.raises(ConfigError, match="seed: 0 -> 1"):
        rundir(tmp_path, seed=1).result()
    with pytest.raises(ConfigError, match="lr: None -> 3"), rundir(tmp_path, lr=3).claim():
        pass


@pytest.mark.parametrize(
    ("stored", "asked", "said"),
    [
        ({"ema": 0.9}, {"ema": None}, "ema: 0.9 -> None"),
        ({"ema": None}, {"ema": 0.9}, "ema: None -> 0.9"),
        ({"ema": 0.9}, {}, "ema: 0.9 -> None"),
        ({}, {"ema": 0.9}, "ema: None -> 0.9"),
        ({"lr": 0.1}, {"lr": 0}, "lr: 0.1 -> 0"),
        ({"steps": [1, 2]}, {"steps": []}, r"steps: \[1, 2\] -> \[\]"),
        ({"compile": "default"}, {"compile": None}, "compile: default -> None"),
    ],
)
def test_a_difference_counts_where_the_value_is_null_or_nothing(tmp_path, stored, asked, said):
    with rundir(tmp_path, **stored).claim():
        write_json(rundir(tmp_path).path / "result.json", RESULT)
    assert rundir(tmp_path, **stored).result() == RESULT
    with pytest.raises(ConfigError, match=said):
        rundir(tmp_path, **asked).result()
    with pytest.raises(ConfigError, match=said), rundir(tmp_path, **asked).claim():
        pass


GAIN = {"_target_": "attn.WithGain", "gain": 1.0}


def test_a_run_may_go_on_elsewhere(tmp_path):
    folder = rundir(tmp_path)
    with folder.claim():
        write_json(folder.path / "result.json", RESULT)
    moved = rundir(tmp_path, device="cuda", data={"name": "cifar100", "root": "there"})
    assert moved.result() == RESULT
    assert moved.fingerprint == folder.fingerprint
    assert rundir(tmp_path, seed=1).fingerprint != folder.fingerprint


def test_a_run_from_before_there_was_a_choice_is_the_run_without_it(tmp_path):
    old = rundir(tmp_path)
    with old.claim():
        write_json(old.path / "result.json", RESULT)
    newer = {
        "model": {"in_channels": 3, "weights_partial": False, "slots": {"gain": GAIN}},
        "data": {"name": "cifar100", "root": "here", "channels": 3},
        "recipe": {"lr_scale": None, "freeze": None},
    }
    now = rundir(tmp_path, syncbn=False, compile=None, **newer)
    assert now.result() == RESULT
    assert now.fingerprint == old.fingerprint
    with pytest.raises(ConfigError, match="compile: None -> default"):
        rundir(tmp_path, compile="default").result()


def test_a_second_process_is_refused_and_told_who_is_first(tmp_path):
    with (
        rundir(tmp_path).claim(),
        pytest.raises(ConfigError, match=f"in use by process {os.getpid()} on "),
        rundir(tmp_path).claim(),
    ):
        pass
    with rundir(tmp_path).claim():  # the lock ends with its process
        pass


def test_a_start_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(ZeroDivisionError), rundir(tmp_path).claim():
        raise ZeroDivisionError
    assert list((tmp_path / "runs").rglob("*")) == []


def test_a_place_that_cannot_be_written_to_is_refused(tmp_path):
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(ConfigError, match="cannot be written to"), rundir(tmp_path).claim():
        pass


def test_flat_names_the_leaves():
    assert dict(flatten({"a": {"b": 1, "c": [1, 2]}, "d": None})) == {
        "a.b": 1,
        "a.c": [1, 2],
        "d": None,
    }
