"""A trained network leaves the project: as a file for other programs, as a network in Python."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from engine.export import FORMATS, largest_difference
from scripts.cli.trained import load_trained

ROOT = Path(__file__).parents[2]
TRAINING = (
    "data=digits", "data.image_size=8", "model=resnet8", "attn=nam", "recipe=digits",
    "recipe.epochs=2", "device=cpu",
)  # fmt: skip
WITHOUT_TORCH = """
import json, sys
sys.modules["torch"] = sys.modules["attn"] = sys.modules["engine"] = None  # an import fails
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession("nam.onnx", providers=["CPUExecutionProvider"])
facts = json.loads(session.get_modelmeta().custom_metadata_map["attnbench"])
pixels = np.load("picture.npy")
assert pixels.shape[:2] == (facts["image_size"],) * 2
image = ((pixels / 255 - facts["mean"]) / facts["std"]).astype(np.float32)
(logits,) = session.run(None, {"images": image.transpose(2, 0, 1)[None]})
print(facts["classes"][int(logits[0].argmax())])
"""


def command(cwd, *words):
    done = subprocess.run(
        [sys.executable, *map(str, words)], cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The directory of a run that an empty folder began with."""
    cwd = tmp_path_factory.mktemp("empty")
    command(cwd, ROOT / "train.py", *TRAINING)
    (result,) = cwd.rglob("result.json")
    return result.parent


@pytest.fixture(scope="module")
def pictures(run, tmp_path_factory):
    """Eight test images as files, named by their class."""
    from engine.datasets import Digits

    folder = tmp_path_factory.mktemp("pictures")
    images = Digits(num_classes=10, image_size=8, statistics="digits").load("test")
    for i in range(8):
        Image.fromarray(images.pixels[i].numpy()).save(folder / f"{i}.png")
    return folder


def test_a_process_with_onnxruntime_alone_gives_the_same_class(run, pictures, tmp_path):
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package)
    said = command(tmp_path, ROOT / "scripts/export.py", f"run={run}", "to=nam.onnx")
    assert "nam.onnx: " in said
    assert "largest difference to the network on 32 test images" in said
    named = command(tmp_path, ROOT / "scripts/predict.py", f"run={run}", f"images={pictures}")
    guesses = [line.split(": ")[1].split()[0] for line in named.splitlines()[:8]]
    assert len(set(guesses)) > 1
    for i, guess in enumerate(guesses):
        np.save(tmp_path / "picture.npy", np.array(Image.open(pictures / f"{i}.png")))
        assert command(tmp_path, "-c", WITHOUT_TORCH).strip() == guess
    assert (tmp_path / "predictions.png").stat().st_size > 5000


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("name", ["torchscript", "exported", "safetensors"])
def test_a_file_of_torch_computes_the_same_and_knows_the_classes(name, run):
    trained, form = load_trained(str(run)), FORMATS[name]
    content = form.pack(trained.model, torch.randn(4, 3, 8, 8), trained.facts)
    function = form.unpack(content, trained.model)
    for size in (1, 7):
        difference, largest = largest_difference(
            function, trained.model, torch.randn(size, 3, 8, 8)
        )
        assert difference < 1e-5 * largest
    without_quotes = content.replace(b"\\", b"").replace(b'"', b"")
    assert json.dumps(trained.facts).replace('"', "").encode() in without_quotes


def test_weights_of_another_network_are_noticed_by_the_comparison(run):
    trained, form = load_trained(str(run)), FORMATS["safetensors"]
    other = form.pack(torch.nn.Linear(3, 2), torch.randn(1, 3), {})
    function = form.unpack(other, trained.model)
    with pytest.raises(RuntimeError, match=r"Missing key.*conv1"):
        function(torch.randn(1, 3, 8, 8))


def test_the_transform_gives_the_images_of_the_evaluation(run, pictures):
    from engine.datasets import Digits

    dataset = Digits(num_classes=10, image_size=8, statistics="digits")
    expected = dataset.normalize(dataset.load("test").pixels[:8])
    trained = load_trained(str(run))
    found = torch.stack([trained.transform(pictures / f"{i}.png") for i in range(8)])
    assert torch.allclose(found, expected, atol=1e-6)
    assert trained.classes == tuple("0123456789")
    assert not trained.model.training


def test_a_picture_that_cannot_be_read_is_named_and_left_out(run, pictures, tmp_path):
    (tmp_path / "bad.png").write_text("x")
    given = f"images=[{tmp_path / 'bad.png'},{pictures / '0.png'}]"
    done = subprocess.run(
        [sys.executable, str(ROOT / "scripts/predict.py"), f"run={run}", given, "to=null"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0
    assert "left out: " in done.stderr
    assert "bad.png cannot be read as an image" in done.stderr
    assert len(done.stdout.splitlines()) == 1
