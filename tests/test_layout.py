"""The rules that keep the tree readable, checked on the source itself."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("attn", "models", "engine", "report", "scripts")
DOORS = ("train.py", "eval.py")
SOURCES = [ROOT / door for door in DOORS] + [f for p in PACKAGES for f in (ROOT / p).rglob("*.py")]
MAY_IMPORT = {  # packages of the project, and libraries that are reserved to some of them
    "attn": {"attn"},
    "models": {"models"},
    "engine": {"engine"},
    "report": {"report"},
    "scripts": {"scripts", "engine", "report", "hydra", "omegaconf"},
    "train.py": {"scripts", "engine", "hydra", "omegaconf"},
    "eval.py": {"scripts", "engine", "hydra", "omegaconf"},
}
RESERVED = {*PACKAGES, "conf", "train", "eval", "hydra", "omegaconf"}


def imported(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").partition(".")[0]


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: str(s.relative_to(ROOT)))
def test_imports_go_one_way_and_hydra_stays_at_the_door(source):
    top = source.relative_to(ROOT).parts[0]
    found = set(imported(ast.parse(source.read_text()))) & RESERVED
    assert found <= MAY_IMPORT[top]


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: str(s.relative_to(ROOT)))
def test_no_function_is_longer_than_40_lines(source):
    for node in ast.walk(ast.parse(source.read_text())):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 40, f"{node.name} is too long"


@pytest.mark.parametrize("source", SOURCES, ids=lambda s: str(s.relative_to(ROOT)))
def test_public_things_say_what_they_are(source):
    tree = ast.parse(source.read_text())
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{node.name} has no docstring"


def test_train_fits_a_screen():
    assert len((ROOT / "train.py").read_text().splitlines()) < 60


def test_nothing_is_called_utils():
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout
    assert not [file for file in files.splitlines() if "util" in file]
