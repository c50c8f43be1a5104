import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from report.cam import CamColumn, CamImages, draw, short_names

CLASSES = ["apple", r"$\nonsense$", "a class with a rather long name"]


def pictured(count):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3), dtype=np.uint8)
    return CamImages(pixels, np.arange(count) % 3, CLASSES, range(count))


def seen(count, name="nam", heat=0.5, guess=0):
    maps = np.full((count, 8, 8), heat, dtype=np.float32)
    return CamColumn(name, maps, np.full(count, guess), np.full(count, 0.93))


def picture(path, images, runs):
    draw(path, images, runs, "heading")
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


@pytest.mark.parametrize(("count", "runs"), [(1, 1), (2, 3), (8, 6)])
def test_it_fits_a_laptop(count, runs, tmp_path):
    columns = [seen(count, f"{i}", i / 6) for i in range(runs)]
    first = picture(tmp_path / "a.png", pictured(count), columns)
    height, width, _ = first.shape
    assert 150 * (runs + 1) < width < 240 * (runs + 1) + 150
    assert 150 * count < height < 240 * count + 150


def test_heat_is_bright_on_a_grey_image(tmp_path):
    images = pictured(1)
    cold, warm = (picture(tmp_path / "a.png", images, [seen(1, heat=heat)]) for heat in (0.0, 1.0))
    changed = (cold != warm).any(2)
    assert changed.mean() > 0.2
    assert (cold[changed].max(1) - cold[changed].min(1)).max() < 4  # without heat there is no color
    assert warm[changed].sum() > cold[changed].sum()


def test_right_and_wrong_differ_by_more_than_color(tmp_path):
    images = pictured(1)
    images.classes[1] = "apple"  # another class with the same name
    right, wrong = (
        picture(tmp_path / "a.png", images, [seen(1, guess=guess)]).min(2) < 200 for guess in (0, 1)
    )
    assert (right != wrong).any()


def test_runs_are_called_by_what_sets_them_apart():
    of = "runs/cifar100/resnet20/{}/cifar_short{}/seed{}".format
    assert short_names([of("none", "", 0), of("nam", "", 0)]) == ["none", "nam"]
    assert short_names([of("nam", "", 0), of("nam", "", 1)]) == ["seed0", "seed1"]
    assert short_names([of("none", "", 0), of("se", "/attn.reduction=8", 0)]) == [
        "none",
        "se attn.reduction=8",
    ]
    assert short_names([of("nam", "", 0)]) == ["resnet20 nam cifar_short seed0"]
    assert short_names([of("nam", "", 0), of("nam", "", 0)]) == 2 * [
        "resnet20 nam cifar_short seed0"
    ]


def test_importing_it_imports_no_torch():
    code = "import sys, report.cam; print('torch' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout == "False\n"
