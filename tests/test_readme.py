"""The examples of the README work."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def block(language, words):
    blocks = re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)
    return next(text for text in blocks if words in text)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the project with the README's own module added, in two files."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("attn", "models", "engine", "report", "scripts", "conf"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("train.py", "eval.py"):
        shutil.copy(ROOT / name, copy)
    (copy / "attn/mine.py").write_text(block("python", "class Mine"))
    (copy / "conf/attn/mine.yaml").write_text(block("yaml", "attn.mine.Mine"))
    return copy


def train(tree, *arguments):
    small = ("data=digits", "data.image_size=8", "model=resnet20", "recipe=digits")
    return subprocess.run(
        [sys.executable, "train.py", *small, "recipe.epochs=1", "attn=mine", *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
    )


def test_a_module_of_ones_own_takes_two_files(tree):
    assert "finished: runs/digits/resnet20/mine" in train(tree).stdout


def test_its_options_are_checked_without_another_word(tree):
    ended = train(tree, "attn.kernal_size=5")
    assert ended.returncode == 2
    assert "did you mean attn.kernel_size?" in ended.stderr


def test_the_library_example_prints_what_the_readme_shows(capsys):
    exec(block("python", "import torchvision"), {})
    assert capsys.readouterr().out in README


@pytest.fixture
def photographs(tree):
    """The folders and the file of weights that the README speaks of; three colours are classes."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 6), ("test", 4)):
        for channel, name in enumerate(("red", "green", "blue")):
            folder = tree / "photos" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 60, (40, 48, 3), dtype=np.uint8)
                pixels[..., channel] += 150
                Image.fromarray(pixels).save(folder / f"{i}.jpg")
    shutil.copytree(tree / "photos/test/red", tree / "new_photos")
    torch.manual_seed(0)
    torch.save(torchvision.models.resnet18().state_dict(), tree / "resnet18.pth")
    return tree


def test_the_commands_from_photographs_to_a_program_work(photographs):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    small = "recipe.epochs=1 recipe.warmup_epochs=0 recipe.batch_size=6 data.image_size=32"
    commands = next(text for text in README.split("```")[1::2] if "data.root=photos" in text)
    said, run = {}, ""
    for line in commands.strip().splitlines():
        words = line.replace("RUN", run).split()[1:]
        training = [*small.split(), "device=cpu"] if words[0] == "train.py" else []
        ended = subprocess.run(
            [sys.executable, *words, *training], cwd=photographs, capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(photographs)},
        )  # fmt: skip
        assert ended.returncode == 0, line + ended.stderr
        run = next(re.finditer(r"finished: (\S+)", ended.stdout), [run, run])[1]
        said[Path(words[0]).name] = ended.stdout
    assert "/nam/" in run
    assert "nam" in said["table.py"]
    assert "red" in said["predict.py"]
    assert len(said["predict.py"].splitlines()) >= 4
    assert "largest difference" in said["export.py"]
    assert (photographs / "nam.onnx").stat().st_size > 1e6


def test_every_choice_is_in_the_table():
    table = (ROOT / "docs/options.md").read_text()
    files = [*ROOT.glob("conf/attn/*.yaml"), *ROOT.glob("conf/recipe/*.yaml")]
    assert [file.stem for file in files if not re.search(rf"\b{file.stem}\b", table)] == []
