"""A mistyped command gets one line and exit code 2, and writes nothing."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NO_TORCH = """
import importlib.abc, importlib.machinery, runpy, sys

class Forbidden(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name != "torch":
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        spec.loader = self
        return spec

    def exec_module(self, module):
        raise SystemExit("torch was imported")

sys.meta_path.insert(0, Forbidden())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*arguments, cwd, script="train.py", torch=True, prelude=""):
    before = [] if torch else ["-c", prelude + NO_TORCH]
    return subprocess.run(
        [sys.executable, *before, str(ROOT / script), *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


NAMES = {
    "attn=namm": "unknown attn 'namm'; did you mean attn=nam?",
    "modle=resnet50": "unknown option modle; did you mean model?",
    "recipe.lrr=1": "unknown option recipe.lrr; did you mean recipe.lr?",
    "+experimint=x": "unknown option experimint; did you mean experiment?",
    "experiment=nam_cifar10": "did you mean experiment=nam_cifar100?",
    "++attn.reduction=4": "unknown option attn.reduction; torch.nn.Identity has no options",
    "recipe.optimizer.momentun=1": "did you mean recipe.optimizer.momentum?",
    "attn._target_=os.system": "attn._target_: os.system is not allowed",
    "+recipe.optimizer.hook._target_=os.system": "unknown option recipe.optimizer.hook",
    "seed=1,2": "seed=1,2: add -m to sweep over these values",
    "attn": "attn: write attn=VALUE",
    "seed=abc": "seed=abc: expected a whole number, 0 or more",
    "syncbn=maybe": "syncbn=maybe: expected true or false",
    "seed=-1": "seed=-1: expected a whole number, 0 or more",
    "--epochs=5": "--epochs=5: write KEY=VALUE without dashes",
    "lr=0.1": "unknown option lr; did you mean recipe.lr=0.1?",
    "table=quickstart": "by another command: python scripts/table.py table=quickstart",
    "attn=/se": "attn=/se: a choice is a name in conf/attn",
    "recipe=/smoke": "recipe=/smoke: a choice is a name in conf/recipe",
    "attn=../attn/se": "attn=../attn/se: a choice is a name in conf/attn",
    "attn=se.yaml": "attn=se.yaml: a choice is a name in conf/attn",
    "data=folder": "data.root is missing: give it with data.root=...",
}


@pytest.mark.parametrize(("argument", "message"), NAMES.items())
def test_a_wrong_name_is_answered_before_torch_is_imported(argument, message, tmp_path):
    ended = run(argument, cwd=tmp_path, torch=False)
    assert message in ended.stderr
    assert (ended.returncode, ended.stderr.count("\n"), ended.stdout) == (2, 1, "")
    assert list(tmp_path.iterdir()) == []


VALUES = {
    "recipe.epochs=-1": "recipe: epochs must be at least 1, got -1",
    "recipe.lr=abc": "recipe.lr=abc: expected a number",
    "recipe.optimizer=adam": "recipe.optimizer=adam: expected a group of options with a _target_",
    "sites=[brunch]": "model: sites has brunch: choose from prenorm, inner, branch, identity",
    "precision=fp8": "precision=fp8: choose from fp32, strict_fp32, bf16, fp16",
    "compile=fast": "compile=fast: choose from default, reduce-overhead, max-autotune, null",
    "compile=true": "compile=True: expected a word or null",
}


@pytest.mark.parametrize(("argument", "message"), VALUES.items())
def test_a_wrong_value_is_answered_before_any_data_is_read(argument, message, tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "test").mkdir()
    empty = f"data.root={tmp_path}"
    ended = run(argument, empty, "model=resnet20", cwd=tmp_path)
    assert message in ended.stderr
    assert (ended.returncode, ended.stderr.count("\n"), ended.stdout) == (2, 1, "")
    assert {path.name for path in tmp_path.iterdir()} == {"train", "test"}


NO_NETWORK = """
import urllib.request
def refuse(*args, **options):
    raise OSError("no network")
urllib.request.urlopen = refuse
"""


def test_missing_data_say_before_torch_is_imported_what_to_do(tmp_path):
    ended = run("data.root=there", cwd=tmp_path, torch=False, prelude=NO_NETWORK)
    assert ended.returncode == 2
    assert "no CIFAR-100 in there, and it cannot be downloaded (no network)" in ended.stderr
    for words in ("data=digits needs no download", "data.root=DIR", "cifar-100-python.tar.gz"):
        assert words in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert len(ended.stderr) < 320
    assert list(tmp_path.iterdir()) == []


def test_a_typo_in_a_file_of_ones_own_is_found(tmp_path):
    (tmp_path / "recipe").mkdir()
    shipped = (ROOT / "conf/recipe/smoke.yaml").read_text()
    (tmp_path / "recipe/mine.yaml").write_text(shipped.replace("momentum:", "momentun:"))
    ended = run("--config-dir", str(tmp_path), "recipe=mine", cwd=tmp_path, torch=False)
    assert "did you mean recipe.optimizer.momentum?" in ended.stderr
    assert ended.returncode == 2


@pytest.mark.parametrize("script", ["train.py", "eval.py", "scripts/table.py", "scripts/cam.py"])
def test_help_needs_no_torch(script, tmp_path):
    ended = run("--help", cwd=tmp_path, script=script, torch=False)
    assert ended.returncode == 0
    assert "python " in ended.stdout
    assert script != "train.py" or "attn: aff, bam, cbam" in ended.stdout


def test_a_wrong_name_ends_a_sweep_once(tmp_path):
    ended = run("-m", "attn=none,se", "recipe.lrr=1", cwd=tmp_path, torch=False)
    assert ended.returncode == 2
    assert ended.stderr.count("unknown option recipe.lrr") == 1


@pytest.mark.parametrize(
    "variables",
    [{"WORLD_SIZE": "abc"}, {"WORLD_SIZE": "2"}, {"WORLD_SIZE": "2", "RANK": "x"}],
)
def test_half_an_environment_of_torchrun_is_told_in_one_line(variables, tmp_path, monkeypatch):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ended = run(cwd=tmp_path, torch=False)
    assert "torchrun sets this variable to a number; unset it" in ended.stderr
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
