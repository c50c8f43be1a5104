"""Heat maps of real runs, and errors."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from engine.errors import ConfigError
from scripts.cam import check
from scripts.cli.compose import build
from scripts.cli.heat_maps import choose, require_same_images
from scripts.cli.overrides import CONF
from scripts.cli.saved_run import load_config, load_run

ROOT = Path(__file__).parents[2]
SMALL = ["data=digits", "data.image_size=8", "model=resnet20", "recipe=digits", "device=cpu"]
NONE, NAM = (
    f"runs/digits/resnet20/{attn}/digits/data.image_size=8,recipe.epochs=1/seed0"
    for attn in ("none", "nam")
)


def run(*arguments, cwd, script="scripts/cam.py"):
    return subprocess.run(
        [sys.executable, str(ROOT / script), *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A directory with two runs of one epoch, without and with NAM."""
    cwd = tmp_path_factory.mktemp("trained")
    ended = run("-m", *SMALL, "recipe.epochs=1", "attn=none,nam", cwd=cwd, script="train.py")
    assert ended.returncode == 0, ended.stderr
    return cwd


def test_two_runs_side_by_side_as_a_file_and_in_tensorboard(trained):
    ended = run(f"run={NONE}", f"vs=[{NAM}]", "images=2", "out=new/cam.png", cwd=trained)
    assert ended.returncode == 0, ended.stderr
    assert "after epoch 1" in ended.stdout
    picture = np.asarray(Image.open(trained / "new/cam.png").convert("RGB"))
    assert picture.shape[0] > 300
    board = EventAccumulator(str(trained / NONE / "cam")).Reload()
    (shown,) = board.Images("cam/none vs nam")
    assert (shown.height, shown.width) == picture.shape[:2]


REFUSED = {
    ("run=nowhere",): "run=nowhere: there is no config.yaml",
    (f"run={NONE}", "vs=[nowhere/a]"): "run=nowhere/a: there is no config.yaml",
}


@pytest.mark.parametrize(("arguments", "message"), REFUSED.items())
def test_what_cannot_be_drawn_is_told_in_one_line(arguments, message, trained):
    before = sorted(trained.rglob("*"))
    ended = run(*arguments, cwd=trained)
    assert message in ended.stderr
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
    assert sorted(trained.rglob("*")) == before


def test_a_run_without_a_checkpoint_is_refused(trained, tmp_path):
    config = load_config(str(trained / NONE), None)
    with pytest.raises(ConfigError, match=f"{tmp_path} holds no checkpoint and no weights"):
        load_run(str(tmp_path), config, "cpu")


@pytest.fixture(scope="module", autouse=True)
def _hydra():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def conf(**options):
    cfg = compose("cam")
    OmegaConf.set_struct(cfg, False)
    return OmegaConf.merge(cfg, {"run": "here"} | options)


def data(name="digits", **options):
    return OmegaConf.merge(compose("train", [f"data={name}"]), {"data": options})


WRONG = {
    "images": (0, "0 images: a picture takes 1 to 64"),
    "indices": ("3", r"indices=3: expected a list \[...\], each a whole number or null"),
    "vs": (3, "vs=3: expected a word or a list"),
    "seed": (-1, "seed=-1: expected a whole number, 0 or more"),
    "target": ("class", "target=class: expected one of label, prediction"),
    "out": ("cam.jpg", "give it a name that ends in .png"),
}


@pytest.mark.parametrize("option", WRONG)
def test_wrong_values_are_refused(option):
    value, message = WRONG[option]
    check(conf())
    with pytest.raises(ConfigError, match=message):
        check(conf(**{option: value}))


def test_indices_and_splits_that_are_not_there_are_refused():
    with pytest.raises(ConfigError, match=r"indices=\[360, -1\]: test has the images 0 to 359"):
        choose(conf(indices=[0, 360, -1]), data())
    with pytest.raises(ConfigError, match="split=val: choose from train, test"):
        choose(conf(split="val"), data())


def test_random_images_depend_on_the_seed_alone():
    first = choose(conf(images=5), data())
    assert first.indices == choose(conf(images=5), data(statistics="cifar10")).indices
    assert first.indices[:2] == choose(conf(images=2), data()).indices
    assert first.indices != choose(conf(images=5, seed=1), data()).indices
    again = choose(conf(indices=first.indices), data())
    assert (again.pixels == first.pixels).all()
    assert (again.labels == first.labels).all()


def test_runs_must_have_seen_the_same_data_set():
    fine = {"a": data(), "b": data(statistics="cifar10", val=9)}
    require_same_images(fine, "test")
    with pytest.raises(ConfigError, match=r"vs=b: another data set \(data.val: 0 -> 9\)"):
        require_same_images(fine, "train")
    with pytest.raises(ConfigError, match=r"vs=c: another data set \(data._target_: "):
        require_same_images({"a": data(), "c": data("cifar10")}, "test")


@pytest.mark.parametrize("name", sorted(file.stem for file in CONF.glob("model/*.yaml")))
def test_the_default_layer_is_the_last_that_gives_maps_in_every_network(name):
    cfg = compose("train", [f"model={name}"])
    calls = []
    with torch.device("meta"):
        net = build(cfg.model).eval()
        for key, module in net.named_modules():
            module.register_forward_hook(lambda m, x, y, key=key: calls.append((key, y)))
        net(torch.empty(1, 3, 32, 32))
    maps = [(key, y) for key, y in calls if isinstance(y, Tensor) and y.dim() == 4]
    layer, last = maps[-1]
    assert layer == compose("cam").layer
    assert min(last.shape[2:]) > 1
    behind = [y.shape for _, y in calls[calls.index(maps[-1]) + 1 :]]
    assert behind
    assert all(len(shape) == 2 for shape in behind)
