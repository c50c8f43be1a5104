import numpy as np
from PIL import Image

from report.formats.confusion import count, most_confused, write

LABELS = np.array([0, 0, 0, 1, 1, 2])
GUESSES = np.array([0, 2, 2, 1, 0, 2])
CLASSES = ("cat", "=dog", "owl")


def test_rows_are_true_classes_and_columns_are_guesses():
    expected = [[1, 0, 2], [1, 1, 0], [0, 0, 1]]
    assert count(LABELS, GUESSES, 3).tolist() == expected


def test_the_most_frequent_mistake_comes_first_and_right_guesses_are_none():
    lines = list(most_confused(count(LABELS, GUESSES, 3), CLASSES))
    assert [line.split("  ")[-1] for line in lines] == [
        "cat taken for owl", "=dog taken for cat",
    ]  # fmt: skip
    assert lines[0].split() == ["2", "of", "3", "cat", "taken", "for", "owl"]


def test_the_files_hold_every_class_and_no_formula(tmp_path):
    table, picture = write(count(LABELS, GUESSES, 3), CLASSES, tmp_path / "new")
    assert table.read_text().splitlines() == [
        "true class,cat,'=dog,owl", "cat,1,0,2", "'=dog,1,1,0", "owl,0,0,1",
    ]  # fmt: skip
    with Image.open(picture) as image:
        assert min(image.size) > 200


def test_a_hundred_classes_fit_the_picture_without_names(tmp_path):
    counts = np.eye(100, dtype=np.int64)
    _, picture = write(counts, [f"$class_{i}$" for i in range(100)], tmp_path)
    with Image.open(picture) as image:
        assert max(image.size) < 1500
