import shutil

import numpy as np
import pytest
import torch
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
    given = {"root": str(root), "num_classes": 2, "image_size": 8, "statistics": "imagenet"}
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


def test_the_test_images_may_lie_in_val(root):
    (root / "test").rename(root / "val")
    assert len(source(root).load("test")) == 2


def undivided(root, per_class=10):
    for k, name in enumerate(("cat", "dog")):
        for i in range(per_class):
            save(root / name / f"{i}.png", color=100 * k + i)
    return root


def test_class_folders_are_divided_the_same_way_every_time_and_evenly(tmp_path):
    root = undivided(tmp_path / "all")
    parts = {split: source(root, split=0.2).load(split) for split in ("train", "test")}
    assert [torch.bincount(of.labels).tolist() for of in parts.values()] == [[8, 8], [2, 2]]
    colours = [set(of.pixels[:, 0, 0, 0].tolist()) for of in parts.values()]
    assert not colours[0] & colours[1]
    assert len(colours[0] | colours[1]) == 20
    again = source(root, split=0.2)
    assert again.load("test").pixels.equal(parts["test"].pixels)
    assert again.origin().images == {"train": 16, "test": 4}
    assert again.origin() != source(root, split=0.3).origin()


def test_class_folders_without_a_share_say_what_to_do(tmp_path):
    with pytest.raises(ValueError, match=r"data\.split=0\.2"):
        source(undivided(tmp_path / "all")).load("train")


@pytest.mark.parametrize(("share", "said"), [(0.2, "leave split out"), (1.5, "between 0 and 1")])
def test_a_share_that_makes_no_sense_is_refused(root, share, said):
    with pytest.raises(ValueError, match=said):
        source(root, split=share).load("train")


def test_what_was_read_and_what_was_left_out_is_one_line(root):
    (root / "train" / "cat" / "more").mkdir()
    save(root / "train" / "dog" / "b.gif")
    folder = source(root)
    images = {split: folder.load(split) for split in folder.splits}
    said = "2 train, 2 test images of 2 classes; left out of train: 1 .gif, 1 folders"
    assert folder.describe(images) == said


def test_a_subset_of_the_classes_is_labelled_as_the_run_knows_them(root, capsys):
    shutil.rmtree(root / "train")
    shutil.rmtree(root / "test" / "cat")
    images = source(root).load("test", trained=("cat", "dog"))
    assert images.labels.tolist() == [1]
    assert "1 of the run's 2 classes are here" in capsys.readouterr().err


def test_a_renamed_class_is_refused_instead_of_shifting_all_labels(root):
    (root / "test" / "cat").rename(root / "test" / "zz_cat")
    with pytest.raises(ValueError, match="was not trained on zz_cat"):
        source(root).load("test", trained=("cat", "dog"))


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_images_have_the_channels_that_the_user_says(root, channels, mode):
    file = root / "train" / "cat" / "b.png"
    color = (200, 100, 50, 128)
    Image.new("RGBA", (8, 8), color).save(file)
    images = source(root, channels=channels).load("train")
    assert images.pixels.shape == (3, 8, 8, channels)
    with Image.open(file) as there:
        assert (
            images.pixels[1, 0, 0].tolist() == np.array(there.convert(mode))[0, 0].ravel().tolist()
        )
    normalized = source(root, channels=channels).normalize(images.pixels)
    assert normalized.shape == (3, channels, 8, 8)


def test_an_image_without_transparency_is_opaque(root):
    images = source(root, channels=4).load("train")
    assert (images.pixels[..., 3] == 255).all()
    assert (source(root, channels=4).normalize(images.pixels)[:, 3] == 0).all()


def test_other_numbers_of_channels_are_refused(root):
    with pytest.raises(ValueError, match="channels=2: expected 1, 3, 4"):
        source(root, channels=2)
