"""`scripts/speed.py` finishes and writes its files; no test here checks a time."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from engine.errors import ConfigError
from scripts.benchmarks.grid import combinations
from scripts.cli.overrides import CONF
from scripts.speed import measure

ROOT = Path(__file__).parents[2]
SMALL = ("data=digits", "data.image_size=8", "model=resnet20", "batch_size=4", "seconds=0")


def speed(*arguments, cwd):
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts/speed.py"), *arguments, "device=cpu"],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_networks_against_their_published_forms(tmp_path):
    ended = speed(*SMALL, "attn=none,nam", "precision=fp32,bf16", "against=published", cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    with (tmp_path / "speed/speed.csv").open() as file:
        lines = list(csv.DictReader(file))
    ours = "channels_last"
    assert [(one["precision"], one["mode"], one["attn"]) for one in lines] == [
        (precision, mode, attn)
        for precision, mode in [("fp32", ours), ("bf16", ours), ("fp32", "published")]
        for attn in ("none", "nam")
    ]  # fmt: skip
    assert all(float(one["train_over_convolutions"]) > 0 for one in lines)
    assert all(float(one["train_loader_share"]) > 0 for one in lines)
    assert [bool(one["train_speedup"]) for one in lines] == [True] * 4 + [False] * 2
    assert [bool(one["train_over_plain"]) for one in lines] == [False, True] * 3
    assert "with PIL in a worker" in ended.stdout


def test_no_more_is_written_than_the_json_on_the_terminal_has(tmp_path):
    small = (*SMALL, "what=modules", "attn=nam", "mode=nchw", "json=true", "to=there")
    ended = speed(*small, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout) == json.loads((tmp_path / "there/speed.json").read_text())


REFUSED = {
    "atn=none": "unknown option atn; did you mean attn?",
    "secnds=3": "unknown option secnds; did you mean seconds?",
    "seconds": "seconds: write seconds=VALUE",
    "what=nets": "what=nets: expected one of networks, modules, loop",
    "batch_size=1": "batch_size=1: expected 2 or more",
    "attn=none,sez": "unknown attn 'sez'; did you mean attn=se?",
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_cannot_be_measured_is_told_in_one_line(words, tmp_path):
    ended = speed(*SMALL, *words.split(), cwd=tmp_path)
    assert REFUSED[words] in ended.stderr
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def _hydra():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def here(what, against=None, **said):
    """The measurement of the command, without the command line."""
    given = {"data": "digits", "data.image_size": "8", "model": "resnet20", "device": "cpu"}
    options = [f"what={what}", "batch_size=4", "seconds=0", f"against={against or 'null'}"]
    return measure(combinations(given | said, against), compose("speed", options))


@pytest.mark.usefixtures("_hydra")
def test_modules_alone_beside_their_published_forms():
    speed = here("modules", "published", attn="nam,cbam")
    assert [row.against for row in speed.rows] == [row.name for row in speed.rows[2:]] + [None] * 2
    assert all(len(times) >= 3 for times in speed.train.values())
    assert set(speed.train) == {row.name for row in speed.rows}


@pytest.mark.usefixtures("_hydra")
def test_the_loop_beside_a_plain_pytorch_loop():
    speed = here("loop", attn="none")
    (row,) = speed.rows
    assert {row.loop, row.loader, row.beside, row.arithmetic} < set(speed.train)


@pytest.mark.usefixtures("_hydra")
def test_each_precision_and_mode_has_floors_of_its_own():
    speed = here("networks", attn="none", precision="fp32,bf16", mode="nchw,channels_last")
    assert len({row.convolutions for row in speed.rows}) == 4
    assert len({row.arithmetic for row in speed.rows}) == 2
    assert len({row.loader for row in speed.rows}) == 1


@pytest.mark.usefixtures("_hydra")
def test_a_compiled_network_beside_the_plain_one(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "engine.training.run.compiled",
        lambda model, mode, *others, **options: asked.append(mode) or model,
    )
    speed = here("networks", "channels_last", attn="none", compile="default,null")
    assert asked == ["default"]
    assert [row.chosen["compile"] for row in speed.rows] == ["default", "null"]
    assert speed.rows[0].against == speed.rows[1].name


@pytest.mark.usefixtures("_hydra")
def test_where_images_are_read_while_training_no_loader_stands_in():
    (row,) = here("networks", attn="none", recipe="imagenet_90ep").rows
    assert row.loader is None


@pytest.mark.usefixtures("_hydra")
def test_reading_photographs_is_measured_beside_torchvision(photos):
    said = {"data": "imagenet", "data.root": str(photos), "data.classes": "3"}
    said |= {"data.num_classes": "3"}
    speed = here("networks", attn="none", recipe="imagenet_90ep", **said)
    (row,) = speed.rows
    assert speed.loaders[row.loader] == f"{row.loader}, by torchvision"
    assert {row.loader, *speed.loaders.values()} < set(speed.train)


@pytest.mark.usefixtures("_hydra")
@pytest.mark.parametrize(
    ("what", "said", "message"),
    [
        ("networks", {"attn": "bam", "mode": "published"}, "bam: mode=published has forms of nam"),
        ("modules", {"attn": "none"}, "none: there is no attention module to measure"),
        ("networks", {"attn": "psa"}, "psa: model: 4 branches"),
        ("networks", {"attn": "nam", "compile": "fast"}, "compile=fast nam: compile=fast: choose"),
        ("modules", {"attn": "nam", "compile": "default"}, "leave out compile="),
    ],
)
def test_a_combination_that_cannot_be_is_named(what, said, message):
    with pytest.raises(ConfigError, match=message):
        here(what, **said)
