import numpy as np
import pytest
from PIL import Image

from engine.folder import Folder, decode


def save(file, size=(8, 8), mode="RGB", color=7):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size, color if mode != "RGB" else (color, 0, 0)).save(file)


@pytest.fixture
def root(tmp_path):
    for split in ("train", "test"):
        for i, name in enumerate(("cat", "dog")):
            save(tmp_path / split / name / "a.png", color=i)
    return tmp_path


def source(root, **options):
    given = {"path": str(root), "num_classes": 2, "image_size": 8, "statistics": "imagenet"}
    return Folder(**given | options)


def test_classes_are_numbered_by_name_and_hidden_files_are_left_out(root):
    (root / "train" / ".cache").mkdir()
    (root / "train" / "cat" / "notes.txt").write_text("no image")
    train = source(root).load("train")
    assert train.classes == ("cat", "dog")
    assert train.labels.tolist() == [0, 1]
    assert train.pixels[:, 0, 0].tolist() == [[0, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize("mode", ["L", "CMYK", "P", "RGBA", "I;16"])
def test_every_mode_becomes_rgb(tmp_path, mode):
    file = tmp_path / ("x.tif" if mode == "CMYK" else "x.png")
    save(file, mode=mode, color=0)
    assert decode(file, 8).shape == (8, 8, 3)


def test_the_shorter_side_is_resized_and_the_centre_kept(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert (decode(tmp_path / "wide.png", 10) == 255).all()
    assert decode(tmp_path / "wide.png", 5).shape == (5, 5, 3)


def test_a_damaged_image_is_named(root):
    (root / "test" / "dog" / "b.jpg").write_bytes(b"not an image")
    with pytest.raises(ValueError, match=r"dog/b\.jpg cannot be read as an image"):
        source(root).load("test")


def test_an_empty_class_is_named(root):
    (root / "train" / "emu").mkdir()
    with pytest.raises(ValueError, match="emu holds no image"):
        source(root, num_classes=3).load("train")


def test_classes_that_differ_between_splits_are_named(root):
    save(root / "test" / "emu" / "a.png")
    with pytest.raises(ValueError, match="not both in train and in test: emu"):
        source(root).load("test")


def test_a_missing_folder_is_named_with_what_is_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected .*/train/<class>"):
        source(tmp_path / "nothing").load("train")
