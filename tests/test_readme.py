"""The examples of the README work."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

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
    shutil.copy(ROOT / "train.py", copy)
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


def test_every_choice_is_in_the_table():
    table = (ROOT / "docs/options.md").read_text()
    files = [*ROOT.glob("conf/attn/*.yaml"), *ROOT.glob("conf/recipe/*.yaml")]
    assert [file.stem for file in files if not re.search(rf"\b{file.stem}\b", table)] == []
