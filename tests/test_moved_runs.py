"""Runs and data move to other folders, as to another machine: they stay the same runs."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parent.parent
OPTIONS = ["data=folder", "data.image_size=32", "model=resnet20", "recipe=smoke", "device=cpu"]
OPTIONS += ["recipe.epochs=3", "checkpoint_seconds=0", "data.root=images"]


def start(script, *words, cwd):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(ROOT / script), *words],
        cwd=cwd,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(script, *words, cwd, code=0):
    process = start(script, *words, cwd=cwd)
    out, err = process.communicate()
    assert process.returncode == code, err
    return out + err


def make_images(root):
    for split, count in (("train", 12), ("test", 6)):
        for k, name in enumerate(("ant", "bee")):
            for i in range(count):
                file = root / split / name / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("RGB", (32, 32), (90 * k + 7 * i, 40, 200 - 9 * i)).save(file)


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """A finished run and an interrupted one, made in one place and moved to another."""
    old, new = tmp_path_factory.mktemp("old"), tmp_path_factory.mktemp("new") / "of another user"
    make_images(old / "images")
    finish("train.py", *OPTIONS, "out=finished", cwd=old)
    stopped = start("train.py", *OPTIONS, "out=stopped", cwd=old)
    while stopped.poll() is None and not list(old.glob("stopped/**/last.pt")):
        time.sleep(0.01)
    stopped.send_signal(signal.SIGTERM)
    stopped.communicate()
    assert stopped.returncode == 143
    shutil.move(old, new)
    shutil.move(new / "images", new / "elsewhere" / "images")
    return new


def run_of(folder):
    (found,) = folder.glob("images/*/*/*/*/seed0")
    return found


def test_a_moved_run_is_finished_and_a_stopped_one_ends_with_the_same_bits(moved):
    words = [*OPTIONS[:-1], "data.root=elsewhere/images"]
    assert "already finished" in finish("train.py", *words, "out=finished", cwd=moved)
    finish("train.py", *words, "out=stopped", cwd=moved)
    weights = [
        (run_of(moved / out) / "weights.safetensors").read_bytes()
        for out in ("finished", "stopped")
    ]
    assert weights[0] == weights[1]


def test_a_moved_run_is_measured_with_its_data_elsewhere(moved, tmp_path):
    run = run_of(moved / "finished")
    lost = finish("eval.py", f"run={run}", cwd=tmp_path, code=2)
    assert "root=FOLDER" in lost
    words = [f"run={run}", f"root={moved / 'elsewhere' / 'images'}", "json=true"]
    measured = json.loads(finish("eval.py", *words, cwd=tmp_path).splitlines()[-1])
    result = json.loads((run / "result.json").read_text())
    assert (measured["top1"], measured["top5"]) == (result["top1"], result["top5"])
    assert result["images"] == {"train": 24, "test": 12}


def test_the_same_place_with_other_images_is_refused(moved, tmp_path):
    shutil.copytree(moved / "finished", tmp_path / "finished")
    shutil.copytree(moved / "elsewhere" / "images", tmp_path / "images")
    (tmp_path / "images" / "train" / "ant").rename(tmp_path / "images" / "train" / "zz_ant")
    (tmp_path / "images" / "test" / "ant").rename(tmp_path / "images" / "test" / "zz_ant")
    said = finish("train.py", *OPTIONS, "out=finished", cwd=tmp_path, code=2)
    assert "classes gone: ant; new classes: zz_ant" in said
    measured = finish(
        "eval.py",
        f"run={run_of(tmp_path / 'finished')}",
        f"root={tmp_path}/images",
        cwd=tmp_path,
        code=2,
    )
    assert "was not trained on zz_ant" in measured
