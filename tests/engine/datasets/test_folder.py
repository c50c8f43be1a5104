import numpy as np
import pytest
from PIL import Image

from engine.datasets import folder
from engine.datasets.folder import Folder, read


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


def test_the_shorter_side_is_resized_and_the_centre_kept(tmp_path):
    wide = np.zeros((10, 30, 3), np.uint8)
    wide[:, 10:20] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert (read(tmp_path / "wide.png", 10) == 255).all()
    assert read(tmp_path / "wide.png", 5).shape == (5, 5, 3)


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


def test_more_images_than_memory_takes_are_refused_with_what_to_do_instead(root, monkeypatch):
    monkeypatch.setattr(folder.os, "sysconf", lambda name: 20)  # 400 bytes of memory
    with pytest.raises(ValueError, match=r"stream them: data=imagenet data\.classes=null"):
        source(root, image_size=9).load("train")


def test_an_image_that_would_take_all_memory_is_refused(tmp_path):
    Image.new("1", (60_000, 1)).save(tmp_path / "line.png")
    with pytest.raises(ValueError, match=r"line\.png cannot be read.*too unequal"):
        read(tmp_path / "line.png", 64)
