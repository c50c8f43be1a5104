"""Nothing uses the network except a missing archive; its error says where to get the data."""

import os
import subprocess
import sys
import urllib.error
from pathlib import Path

import pytest

from engine.datasets.cifar import CIFAR
from engine.datasets.imagenet import ImageNet
from engine.storage.archives import ARCHIVES

pytestmark = pytest.mark.fault("B8")

ROOT = Path(__file__).parent.parent.parent
# Unix sockets carry tensors between the processes of this machine.
BAN = """
import sys
def ban(event, args):
    if event == "socket.getaddrinfo" or event == "socket.__new__" and args[1] != 1:
        print("ASKED FOR A NETWORK", event, args, file=sys.stderr)
        sys.exit(99)
sys.addaudithook(ban)
"""
IMPORTS = """
import importlib, pathlib
for file in sorted(pathlib.Path().glob("[aemrs]*/*.py")):
    importlib.import_module(".".join(file.with_suffix("").parts).removesuffix(".__init__"))
"""
DOOR = "import runpy; sys.argv[0] = 'train.py'; runpy.run_path({!r}, run_name='__main__')"
STREAM = (
    "data=imagenet", "data.classes=null", "data.image_size=16", "data.resize=16", "data.workers=1",
    "recipe=imagenet_90ep", "recipe.epochs=1", "recipe.schedule.milestones=[]",
    "recipe.batch_size=15", "model=resnet20", "device=cpu",
)  # fmt: skip


def python(code, *arguments, cwd):
    return subprocess.run(
        [sys.executable, "-c", BAN + code, *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


def test_nothing_asks_for_a_network(photos, tmp_path, tally):
    control = python("import socket; socket.create_connection(('127.0.0.1', 9))", cwd=ROOT)
    assert control.returncode == 99
    imported = python(IMPORTS, cwd=ROOT)
    assert imported.returncode == 0, imported.stderr
    train = DOOR.format(str(ROOT / "train.py"))
    trained = python(train, *STREAM, f"data.root={photos}", cwd=tmp_path)
    assert trained.returncode == 0, trained.stderr
    tally("B8", "nothing asks for a network: imports, training", [True, True])


def test_missing_data_are_told_with_address_and_size(tmp_path, monkeypatch, tally):
    def no_network(*args, **options):
        raise urllib.error.URLError("no network")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    given = {"root": str(tmp_path), "num_classes": 10, "statistics": "cifar10"}
    archive = ARCHIVES["cifar10"]
    expected = {
        CIFAR(name="cifar10", image_size=32, **given): (
            "no network", "data=digits", archive.published.url, "(170 MB)",
        ),
        ImageNet(image_size=224, **given): (
            "python -c ", "https://image-net.org/download", "6,744,924,160 bytes", "MD5 29b22e29",
        ),
    }  # fmt: skip
    outcomes = []
    for source, words in expected.items():
        with pytest.raises(FileNotFoundError) as refused:
            source.load("train")
        said = str(refused.value)
        outcomes.append("data.root" in said and all(word in said for word in words))
    tally("B8", "missing data", [all(outcomes)])
