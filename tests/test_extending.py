"""The files of docs/extending.md, written as the page says, train and make a table."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/extending.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w/]+\.\w+)`:\n\n```\w+\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE))
ROWS = ("none", "site", "head", "fusion", "conv", "norm")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A copy of the project with the files of the page."""
    copy = tmp_path_factory.mktemp("copy")
    for name in ("attn", "models", "engine", "report", "scripts", "conf"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "train.py", copy)
    for name, source in FILES.items():
        assert not (copy / name).exists(), f"{name} would replace a file of the project"
        (copy / name).write_text(source, encoding="utf-8")
    return copy


def test_the_page_has_each_part():
    folders = [str(Path(name).parent) for name in FILES]
    assert folders.count("attn") == folders.count("conf/attn") == 4
    assert {"models", "conf/model", "engine/datasets", "conf/data", "conf/table"} < {*folders}


def test_the_files_train_and_make_a_table(tree):
    words = re.search(r"^python (scripts/table.py .+)$", PAGE, re.MULTILINE)[1].split()
    ended = subprocess.run(
        [sys.executable, *words, "cost=false", "device=cpu"],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    assert len(list(tree.glob("runs/stripes/tiny/**/result.json"))) == len(ROWS)
    for row in ROWS:
        assert re.search(rf"^\| {row} ", ended.stdout, re.MULTILINE), ended.stdout
