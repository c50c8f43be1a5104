"""Unusual class folders are read correctly or refused in one line."""

import pytest
from PIL import Image

from engine.datasets.folder import Folder
from engine.datasets.image_files import find
from engine.datasets.imagenet import ImageNet

pytestmark = pytest.mark.fault("B3")


def image(file):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9)).save(file, "PNG")


def sources(root, classes):
    given = {"num_classes": classes, "image_size": 8, "statistics": "imagenet"}
    yield Folder(root=str(root), **given)
    yield ImageNet(root=str(root), workers=0, resize=8, **given)


def said(root, split="test", classes=2):
    """The error of each data set for the folder; "" if the data set reads the folder."""
    find.cache_clear()
    for source in sources(root, classes):
        try:
            for part in ("train", split):
                source.load(part)
        except (ValueError, OSError) as error:
            yield str(error)
        else:
            yield ""


def all_say(words, lines):
    return all(words in line and "\n" not in line for line in lines)


def empty_class(root):
    (root / "train" / "cat").mkdir()
    (root / "test" / "cat").mkdir()
    return all_say("cat holds no image", said(root, classes=3))


def hidden_files(root):
    (root / "train" / "ant" / "._a.png").write_bytes(b"left by a Mac")
    (root / "train" / ".cache").mkdir()
    (root / "train" / "ant" / "notes.txt").write_text("not an image")
    return all(line == "" for line in said(root)) and len(find(root / "train")) == 2


def class_missing_in_one(root):
    image(root / "train" / "cat" / "a.png")
    return all_say("cat", said(root, classes=3))


def another_order(root):
    """Folders were made in another order in each split; both number classes by name."""
    image(root / "test" / "aardvark" / "a.png")
    image(root / "train" / "aardvark" / "a.png")
    return [s.load(p).classes for s in sources(root, 3) for p in ("train", "test")] == [
        ("aardvark", "ant", "bee")
    ] * 4


def one_class(root):
    for split in ("train", "test"):
        (root / split / "bee" / "a.png").unlink()
        (root / split / "bee").rmdir()
    return all_say("only one class", said(root, classes=1))


def odd_names(root):
    names = ("a b", "ends in a return\r", "C:\\dog", "ünï", "quo'te\"s", "[1]*?")
    for name in names:
        for split in ("train", "test"):
            image(root / split / name / f"{name}.PNG")
    return all(line == "" for line in said(root, classes=8)) and len(find(root / "test")) == 8


def no_image_at_all(root):
    for split in ("train", "test"):
        for file in root.glob(f"{split}/*/*"):
            file.unlink()
    nothing = all_say("ant holds no image", said(root))
    for folder in root.glob("*/*"):
        folder.rmdir()
    return nothing and all_say("has no class folders: expected", said(root))


def link_to_itself(root):
    (root / "train" / "loop").symlink_to("loop")
    return all_say("loop", said(root, classes=3))


ODDITIES = [
    empty_class, hidden_files, class_missing_in_one, another_order, one_class, odd_names,
    no_image_at_all, link_to_itself,
]  # fmt: skip


def test_odd_folders_are_read_right_or_named(tmp_path, tally):
    outcomes = []
    for oddity in ODDITIES:
        root = tmp_path / oddity.__name__
        for split in ("train", "test"):
            for name in ("bee", "ant"):
                image(root / split / name / "a.png")
        outcomes.append(oddity(root))
    tally("B3", "odd class folders", outcomes)
