"""Real processes on real digits: training, sweeps, resuming, and evaluation."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file

import train

ROOT = Path(__file__).parent.parent
SMALL = ["data=digits", "data.image_size=8", "model=resnet20", "recipe=digits", "device=cpu"]
RUN = "runs/digits/resnet20"
THREE = "digits/data.image_size=8,recipe.epochs=3/seed0"


def start(*arguments, cwd, script="train.py"):
    return subprocess.Popen(
        [sys.executable, str(ROOT / script), *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(*arguments, cwd, script="train.py"):
    process = start(*arguments, cwd=cwd, script=script)
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out


def wait_for(process, happened):
    """Wait until `happened()` is true or the process has ended."""
    while not happened() and process.poll() is None:
        time.sleep(0.01)


def same(a, b):
    """Whether weights and logs are bit-equal and results equal, except numbers of the clock."""
    clock = ("train_seconds", "images_per_second", "revision")
    results = [json.loads((d / "result.json").read_text()) for d in (a, b)]
    results = [{k: v for k, v in r.items() if k not in clock} for r in results]
    files = ("weights.safetensors", "metrics.jsonl")
    return results[0] == results[1] and all(
        (a / file).read_bytes() == (b / file).read_bytes() for file in files
    )


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """An uninterrupted run of three epochs."""
    cwd = tmp_path_factory.mktemp("unbroken")
    finish(*SMALL, "attn=nam", "recipe.epochs=3", cwd=cwd)
    return cwd / RUN / "nam" / THREE


def test_a_finished_run_is_measured_again_from_its_weights_alone(unbroken, tmp_path):
    for name in ("config.yaml", "weights.safetensors"):
        (tmp_path / name).write_bytes((unbroken / name).read_bytes())
    measured = json.loads(finish(f"run={tmp_path}", "json=true", cwd=tmp_path, script="eval.py"))
    result = json.loads((unbroken / "result.json").read_text())
    assert [measured[key] for key in ("top1", "top5")] == [result["top1"], result["top5"]]
    assert measured["epoch"] == 3


def test_a_run_leaves_what_the_readme_says(unbroken):
    files = {file.name.partition(".17")[0].split(".out")[0] for file in unbroken.iterdir()}
    assert {"config.yaml", "metrics.jsonl", "last.pt", "events"} <= files
    result = json.loads((unbroken / "result.json").read_text())
    rows = [json.loads(line) for line in (unbroken / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert result["top1"] == rows[-1]["test.top1"] > 15
    assert (result["attn"], result["seed"], result["params"]) == ("nam", 0, 270_394)
    assert result["deterministic"] is True
    weights = load_file(unbroken / "weights.safetensors")
    assert weights["layer1.0.branch.channel.bn.weight"].shape == (16,)


def test_eval_measures_the_same_number_again(unbroken):
    cwd = unbroken.parent
    options = (f"run={unbroken}", "json=true", "per_class=true")
    measured = json.loads(finish(*options, cwd=cwd, script="eval.py"))
    result = json.loads((unbroken / "result.json").read_text())
    assert (measured["top1"], measured["top5"]) == (result["top1"], result["top5"])
    assert measured["images"] == 360
    assert set(measured["per_class"]) == set("0123456789")
    train = json.loads(finish(*options, "split=train", cwd=cwd, script="eval.py"))
    assert train["images"] == 1437


def test_weights_from_elsewhere_are_the_start_of_another_run(unbroken, tmp_path):
    weights = f"model.weights={unbroken / 'weights.safetensors'}"
    process = start(*SMALL, "attn=se", weights, "recipe.epochs=1", cwd=tmp_path)
    _, err = process.communicate()
    assert process.returncode == 0, err
    assert "unexpected: layer1.0.branch.channel.bn." in err  # NAM's; SE has no such weight
    assert "new: layer1.0.branch.fc1.weight" in err
    (result,) = tmp_path.rglob("result.json")
    plain = json.loads((unbroken / "metrics.jsonl").read_text().splitlines()[0])
    first = json.loads((result.parent / "metrics.jsonl").read_text().splitlines()[0])
    assert first["train.loss"] < plain["train.loss"]


def test_weights_of_another_network_end_the_run_with_one_line(unbroken, tmp_path):
    weights = f"model.weights={unbroken / 'weights.safetensors'}"
    process = start(*SMALL, "model=resnet8", weights, cwd=tmp_path)
    _, err = process.communicate()
    assert process.returncode == 2
    assert err.count("\n") == 1
    assert "layers of the file are not in this network: layer1." in err


def test_a_run_killed_at_any_moment_ends_as_if_nothing_had_happened(unbroken, tmp_path):
    command = (*SMALL, "attn=nam", "recipe.epochs=3")
    folder = tmp_path / RUN / "nam" / THREE
    log = folder / "metrics.jsonl"
    process = start(*command, cwd=tmp_path)
    wait_for(process, lambda: log.exists() and log.read_text().count("\n") == 1)
    time.sleep(0.2)  # the run is in its second epoch
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (folder / "result.json").exists()
    finish(*command, cwd=tmp_path)
    assert same(folder, unbroken)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_within_a_step_and_the_same_command_goes_on(
    unbroken, tmp_path, number, code
):
    command = (*SMALL, "attn=nam", "recipe.epochs=3")
    folder = tmp_path / RUN / "nam" / THREE
    process = start(*command, cwd=tmp_path)
    wait_for(process, (folder / "metrics.jsonl").exists)
    process.send_signal(number)
    _, err = process.communicate()
    assert process.returncode == code
    assert "run the same command to resume" in err
    assert (folder / "last.pt").exists()
    finish(*command, cwd=tmp_path)
    assert same(folder, unbroken)


def test_a_sweep_makes_a_directory_for_each_run_and_is_skipped_when_repeated(tmp_path):
    command = ("-m", *SMALL, "recipe.epochs=1", "attn=none,se,cbam,bam,nam", "seed=0,1")
    finish(*command, cwd=tmp_path)
    results = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("result.json")}
    expected = {
        tmp_path / RUN / name / f"digits/data.image_size=8,recipe.epochs=1/seed{seed}/result.json"
        for name in ("none", "se", "cbam", "bam", "nam")
        for seed in (0, 1)
    }
    assert set(results) == expected
    assert finish(*command, cwd=tmp_path).count("already finished") == 10
    assert results == {file: file.stat().st_mtime_ns for file in tmp_path.rglob("result.json")}
    table = finish(cwd=tmp_path, script="scripts/table.py")
    assert [line.split()[1] for line in table.splitlines() if "M | " in line][:1] == ["none"]
    assert table.count("270,394") == 1  # one row for the two seeds of nam


def test_another_configuration_in_the_same_place_is_refused(unbroken, tmp_path):
    folder = tmp_path / RUN / "nam" / THREE
    folder.mkdir(parents=True)
    stored = (unbroken / "config.yaml").read_text()
    (folder / "config.yaml").write_text(stored.replace("momentum: 0.9", "momentum: 0.8"))
    process = start(*SMALL, "attn=nam", "recipe.epochs=3", cwd=tmp_path)
    _, err = process.communicate()
    assert process.returncode == 2
    assert "recipe.optimizer.momentum: 0.8 -> 0.9" in err


def test_a_job_that_cannot_run_does_not_stop_the_others(tmp_path):
    command = ("-m", *SMALL, "recipe.epochs=1", "attn=se", "attn.reduction=99,4")
    process = start(*command, cwd=tmp_path)
    _, err = process.communicate()
    assert process.returncode == 2
    assert "reduction=99 does not fit 16 channels" in err
    assert len(list(tmp_path.rglob("result.json"))) == 1


def test_held_out_images_are_watched_and_the_test_set_is_measured_once(tmp_path):
    finish(*SMALL, "data.val=100", "recipe.epochs=2", cwd=tmp_path)
    (log,) = tmp_path.rglob("metrics.jsonl")
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert ["test.top1" in row for row in rows] == [False, True]
    assert all("val.top1" in row for row in rows)
    result = json.loads((log.parent / "result.json").read_text())
    assert result["best_top1"] is None
    assert result["val_top1"] == rows[-1]["val.top1"] != result["top1"]
    assert result["images"] == {"train": 1437, "test": 360}


def test_a_sweeper_is_given_the_held_out_images_accuracy(monkeypatch):
    result = {"top1": 70.0, "top5": 90.0, "val_top1": 60.0}
    folder = SimpleNamespace(path="run", fingerprint="", result=lambda: result)
    monkeypatch.setattr("train.run_directory", lambda cfg: folder)
    monkeypatch.setattr("train.compare_finished", lambda folder, cfg: None)
    assert train.main(None) == 60.0
    del result["val_top1"]
    assert train.main(None) == 70.0
