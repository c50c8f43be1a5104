import os

import pytest
import torch

from engine.datasets.image_files import class_names, find


def test_order_is_by_class_then_by_name_whatever_the_disk_says(photos):
    files = find(photos / "train")
    paths = [files.path(i) for i in range(len(files))]
    assert paths == sorted(paths)
    assert all(os.path.isfile(path) for path in paths)
    assert files.labels.tolist() == [0] * 10 + [1] * 10 + [2] * 10
    assert files.path(29) == str(photos / "train" / "cat" / "9.JPEG")


def test_names_are_one_array_whatever_they_are(tmp_path):
    (tmp_path / "a").mkdir()
    names = sorted(["x.jpg", "ü.png", "y" * 90 + ".webp", "z\udcff.bmp"], key=os.fsencode)
    for name in names:
        (tmp_path / "a" / name).touch()
    files = find(tmp_path)
    assert [files.path(i) for i in range(4)] == [str(tmp_path / "a" / name) for name in names]
    assert files.names.nbytes < 500
    assert files.take(torch.tensor([2])).path(0) == files.path(2)


def test_classes_of_a_list_are_numbered_in_their_order(photos):
    files = find(photos / "train", ("cat", "ant"))
    assert files.classes == ("cat", "ant")
    assert files.path(0).endswith("cat/0.JPEG")


def test_what_is_left_out_is_counted_by_kind(tmp_path):
    folder = tmp_path / "a"
    (folder / "nested").mkdir(parents=True)
    for name in ("x.JPG", "y.tif", "z.jfif", ".hidden", "m.gif", "n.gif", "README"):
        (folder / name).touch()
    found = find(tmp_path)
    assert len(found) == 3
    left_out = {"folders": 1, ".gif": 2, "files without a suffix": 1}
    assert found.left_out == left_out


def test_a_missing_folder_is_named_with_what_is_expected(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"expected .*/none/<class>/\*\.jpg"):
        class_names(tmp_path / "none")
