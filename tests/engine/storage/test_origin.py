"""A run is what it was made from: images, classes and pretrained weights, wherever they lie."""

import os
import shutil

import pytest
from PIL import Image

from engine.datasets.cifar import CIFAR
from engine.datasets.folder import Folder, read_folders
from engine.datasets.image_files import find
from engine.datasets.imagenet import ImageNet
from engine.errors import ConfigError
from engine.storage.origin import Origin, digest_of_file, is_here, known_origin
from engine.storage.run_dir import RunDir

OPTIONS = {"num_classes": 2, "statistics": "imagenet"}
SOURCES = {
    "folder": lambda root: Folder(root=str(root), image_size=32, **OPTIONS),
    "imagenet": lambda root: ImageNet(root=str(root), image_size=8, resize=8, workers=0, **OPTIONS),
}


def save(file, color):
    file.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (32, 32), (color, color // 2, 0)).save(file)


@pytest.fixture
def root(tmp_path):
    for split, count in (("train", 4), ("test", 2)):
        for k, name in enumerate(("ant", "bee")):
            for i in range(count):
                save(tmp_path / "data" / split / name / f"{i}.png", color=20 * k + 3 * i)
    return tmp_path / "data"


@pytest.fixture(params=SOURCES)
def origin(request):
    def read(root):
        find.cache_clear()
        read_folders.cache_clear()
        return SOURCES[request.param](root).origin()

    return read


def test_it_counts_images_and_names_classes(root, origin):
    found = origin(root)
    assert found.images == {"train": 8, "test": 4}
    assert found.classes == ("ant", "bee")


def test_the_place_and_the_times_of_the_files_are_the_machines(root, origin, tmp_path):
    before = origin(root)
    moved = shutil.move(root, tmp_path / "elsewhere")
    for file in moved.rglob("*.png"):
        os.utime(file, (1, 1))
    assert before.differences(origin(moved)) == []


def rename_a_class(root):
    for split in ("train", "test"):
        (root / split / "ant").rename(root / split / "zz_ant")
    return "classes gone: ant; new classes: zz_ant"


def remove_half(root):
    for i in (0, 1):
        for name in ("ant", "bee"):
            (root / "train" / name / f"{i}.png").unlink()
    return "train: 8 -> 4 images"


def exchange_images(root):
    first, second = (root / "train" / name / "0.png" for name in ("ant", "bee"))
    aside = first.with_name("aside")
    first.rename(aside), second.rename(first), aside.rename(second)
    for file in (first, second):  # a streamed data set knows a file by its name and its size
        file.write_bytes(file.read_bytes() + b"0" * (7 if file is first else 9))
    return "other images with the same counts and classes"


def rename_a_file(root):
    (root / "test" / "ant" / "0.png").rename(root / "test" / "ant" / "x.png")
    return "other images with the same counts and classes"


def move_an_image_to_another_class(root):
    (root / "train" / "ant" / "0.png").rename(root / "train" / "bee" / "9.png")
    return "other images with the same counts and classes"


@pytest.mark.parametrize(
    "change",
    [
        rename_a_class,
        remove_half,
        exchange_images,
        rename_a_file,
        move_an_image_to_another_class,
    ],
)
def test_other_data_in_the_same_place_are_refused_naming_what_differs(
    root, origin, tmp_path, change
):
    run = RunDir(tmp_path / "run", {"seed": 0}, {})
    with run.claim():
        run.store_origin(origin(root))
        (run.path / "last.pt").touch()
    said = change(root)
    with pytest.raises(ConfigError) as refusal:
        RunDir(tmp_path / "run", {"seed": 0}, {}).compare_origin(origin(root))
    assert f"({said})" in str(refusal.value)


def test_pixels_are_what_counts_where_images_are_in_memory(root):
    before = SOURCES["folder"](root).origin()
    file = root / "test" / "bee" / "1.png"
    size = file.stat().st_size
    save(file, color=99)
    os.truncate(file, max(size, file.stat().st_size))
    read_folders.cache_clear()
    assert before.differences(SOURCES["folder"](root).origin())


def test_the_same_pixels_are_the_same_cifar_in_every_shape(root, monkeypatch):
    read = {split: read_folders(root / split, 32) for split in ("train", "test")}
    monkeypatch.setattr("engine.datasets.cifar._read", lambda name, here, split: read[split])
    cifar = CIFAR(name="cifar10", root="anywhere", image_size=32, **OPTIONS)
    assert cifar.origin().images == {"train": 8, "test": 4}
    before = cifar.origin()
    read["train"].pixels[0, 0, 0, 0] += 1
    assert before.differences(cifar.origin()) == ["other images with the same counts and classes"]


def test_other_weights_and_another_order_of_classes_are_told():
    one = Origin({"train": 1}, ("a", "b"), "d", "w")
    assert one.differences(Origin({"train": 1}, ("a", "b"), "d", "v")) == [
        "other pretrained weights (model.weights)"
    ]
    assert one.differences(Origin({"train": 1}, ("b", "a"), "e", "w")) == [
        "the classes in another order"
    ]
    many = one.differences(Origin({"train": 1}, tuple("cdefgh"), "e", "w"))
    assert many == ["classes gone: a, b", "new classes: c, d, e and 3 more"]


class Reader:
    """Counts how often the data are read."""

    def __init__(self):
        self.reads = 0

    def __call__(self):
        self.reads += 1
        return Origin({"train": 8}, ("ant", "bee"), str(self.reads))


def touch_an_image(root, weights):
    os.utime(root / "train" / "ant" / "0.png")


def add_an_image(root, weights):
    save(root / "test" / "bee" / "9.png", 1)


def replace_the_weights(root, weights):
    weights.write_bytes(b"other")


@pytest.mark.parametrize("change", [touch_an_image, add_an_image, replace_the_weights])
def test_the_data_are_read_again_only_after_a_change(root, tmp_path, change):
    weights, read = tmp_path / "w.pth", Reader()
    weights.write_bytes(b"weights")

    def ask():
        return known_origin(tmp_path / "out", {"root": str(root)}, str(weights), read)

    assert ask() == ask()
    assert read.reads == 1
    change(root, weights)
    ask()
    ask()
    assert read.reads == 2


def test_a_damaged_memory_of_origins_is_written_anew(root, tmp_path):
    read = Reader()
    (tmp_path / ".origins.json").write_text("[1")
    for _ in range(2):
        known_origin(tmp_path, {"root": str(root)}, None, read)
    assert read.reads == 1


def test_a_run_that_does_not_know_its_origin_is_not_refused(tmp_path):
    folder = RunDir(tmp_path / "run", {"seed": 0}, {})
    with folder.claim():
        pass
    assert folder.origin is None
    folder.compare_origin(Origin({"train": 1}, ("a",), "d"))


def test_a_damaged_origin_is_told(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 0\nmade_from: {images: 3}\n")
    with pytest.raises(ConfigError, match="made_from is damaged"):
        RunDir(tmp_path, {"seed": 0}, {}).compare_origin(Origin({}, (), ""))


def test_whether_data_are_here(root, tmp_path):
    assert is_here({"root": str(root)})
    assert is_here({})
    assert not is_here({"root": str(tmp_path / "nothing")})


def test_the_digest_of_a_file_is_its_sha256(tmp_path):
    (tmp_path / "w").write_bytes(b"abc")
    assert digest_of_file(tmp_path / "w").startswith("ba7816bf8f01cfea414140de5dae2223")
    assert digest_of_file(tmp_path / "nothing") is None
