"""A checkpoint or configuration from elsewhere runs no code and is never loaded by mistake."""

import os
import shutil
import subprocess
import sys
from functools import partial

import pytest
import torch

import models
from attn.se import SE
from tests.faults.children import ROOT, SMALL, run_of, said, train, wrap

pytestmark = pytest.mark.fault("B5")


class Bomb:
    """Unpickling a bomb makes a folder, which the test then sees."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


class Holder:
    """A harmless object, but unpickling must import its class."""


def fail_at(step):
    wrap("engine.training.loop", "train_step", step, partial(os._exit, 9))


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run that was killed after one epoch."""
    cwd = tmp_path_factory.mktemp("begun")
    assert train(cwd, *SMALL, before=partial(fail_at, 8)) == 9
    return cwd


def replaced(change):
    """A function that replaces the content of a checkpoint by `change(content)`."""

    def alter(path):
        torch.save(change(torch.load(path, weights_only=True)), path)

    return alter


def of(model):
    """A function that puts another network's weights into a checkpoint."""
    return replaced(lambda state: state | {"model": model().state_dict()})


def resnet(name="resnet20", attn=torch.nn.Identity, classes=10):
    return getattr(models, name)(
        num_classes=classes, stem="cifar", image_size=8, slots=models.Slots(attn, ["branch"])
    )


def without_a_key(state):
    state["model"].pop("fc.bias")
    return state


def prefixed(state):
    return state | {"model": {f"module._orig_mod.{k}": v for k, v in state["model"].items()}}


def strangers(harm):
    """(name, change of the checkpoint, words of the answer)."""
    bomb = {"format": 1, "model": Bomb(str(harm))}
    yield "bomb", lambda path: torch.save(bomb, path), "cannot be used: torch cannot load it"
    yield "object", replaced(lambda s: s | {"epoch": Holder()}), "cannot be used: torch cannot"
    yield "model", of(partial(resnet, "resnet32")), "layer1.3.conv1.weight is not in this one"
    yield "classes", of(partial(resnet, classes=7)), "fc.weight is 7×64 there and 10×64 here"
    yield "attention", of(partial(resnet, attn=SE)), "branch.fc1.weight is not in this one"
    yield "keys", replaced(without_a_key), "another network: fc.bias is missing"
    yield "prefixes", replaced(prefixed), "is missing"


def refused(cwd, begun, alter, words):
    """Whether the run ends with one line and exit code 2 and keeps the checkpoint."""
    shutil.copytree(begun, cwd)
    path = run_of(cwd) / "last.pt"
    alter(path)
    before = path.read_bytes()
    code = train(cwd, *SMALL)
    lines = said(cwd).splitlines()
    return code == 2 and len(lines) == 1 and words in lines[0] and path.read_bytes() == before


def test_checkpoints_from_elsewhere(tmp_path, begun, tally):
    harm = tmp_path / "harm"
    outcomes = [
        refused(tmp_path / name, begun, alter, words) and not harm.exists()
        for name, alter, words in strangers(harm)
    ]
    tally("B5", "checkpoint from elsewhere: refused, no code run, nothing lost", outcomes)


def test_a_configuration_from_elsewhere(tmp_path, begun, tally):
    shutil.copytree(begun, tmp_path / "run")
    folder = run_of(tmp_path / "run")
    config = folder / "config.yaml"
    harm = tmp_path / "harm"
    config.write_text(config.read_text().replace("engine.datasets.Digits", "os.mkdir") + f"#{harm}")
    ended = subprocess.run(
        [sys.executable, str(ROOT / "eval.py"), f"run={folder}"],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    told = "os.mkdir is not allowed" in ended.stderr and ended.stderr.count("\n") == 1
    tally("B5", "hostile _target_ in config.yaml: refused", [ended.returncode == 2 and told])


def test_prefixes_are_taken_off_weights(tmp_path, begun, tally):
    """DataParallel and torch.compile put these prefixes before the names of weights."""
    state = torch.load(run_of(begun) / "last.pt", weights_only=True)["model"]
    outcomes = []
    for prefix in ("module.", "_orig_mod.", "module._orig_mod."):
        cwd = tmp_path / prefix
        cwd.mkdir()
        torch.save({prefix + key: value for key, value in state.items()}, cwd / "weights.pt")
        code = train(cwd, *SMALL, "model.weights=weights.pt")
        told = f"weights: {len(state)} tensors loaded; new: none; unexpected: none" in said(cwd)
        outcomes.append(code == 0 and told)
    tally("B5", "module. and _orig_mod. before the names of weights: loaded", outcomes)


def test_control_the_bomb_goes_off_where_code_may_run(tmp_path):
    torch.save(Bomb(str(tmp_path / "harm")), tmp_path / "bomb.pt")
    torch.load(tmp_path / "bomb.pt", weights_only=False)
    assert (tmp_path / "harm").exists()
