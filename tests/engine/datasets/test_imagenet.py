import pytest
import torch

from engine.datasets.imagenet import ImageNet, part_of_each


def source(root, **options):
    given = {"num_classes": 3, "image_size": 16, "resize": 20, "workers": 0}
    return ImageNet(**{"root": str(root), "statistics": "imagenet"} | given | options)


def test_train_and_val_are_the_training_and_the_test_set(photos):
    train, test = source(photos).load("train"), source(photos).load("test")
    assert (len(train), len(test)) == (30, 12)
    assert train.classes == test.classes == ("ant", "bee", "cat")
    assert torch.bincount(train.labels).tolist() == [10, 10, 10]


def test_a_folder_called_test_will_do(photos, tmp_path):
    (tmp_path / "train").symlink_to(photos / "train")
    (tmp_path / "test").symlink_to(photos / "val")
    assert len(source(tmp_path).load("test")) == 12


@pytest.mark.parametrize(
    ("classes", "names"), [(None, "ant bee cat"), (2, "ant bee"), (["cat", "ant"], "ant cat")]
)
def test_classes_are_all_the_first_or_those_named(photos, classes, names):
    names = tuple(names.split())
    chosen = source(photos, classes=classes, num_classes=len(names))
    train, test = chosen.load("train"), chosen.load("test")
    assert train.classes == test.classes == names
    assert (len(train), len(test)) == (10 * len(names), 4 * len(names))
    assert f"/train/{names[-1]}/" in train.files.path(len(train) - 1)
    assert train.labels.max() == len(names) - 1


def test_a_fraction_is_of_each_class_of_training_alone_and_the_same_each_time(photos):
    some, again = source(photos, fraction=0.31).load("train"), source(photos, fraction=0.31)
    assert torch.bincount(some.labels).tolist() == [3, 3, 3]
    paths = [some.files.path(i) for i in range(9)]
    assert paths == sorted(paths)
    assert paths == [again.load("train").files.path(i) for i in range(9)]
    assert len(again.load("test")) == 12
    assert part_of_each(torch.tensor([0, 0, 1]), 0.01).shape == (2,)


def test_held_out_images_are_streamed_as_well(photos):
    parts = {split: source(photos, val=6).load(split) for split in ("train", "val", "test")}
    assert {split: len(part) for split, part in parts.items()} == {
        "train": 24,
        "val": 6,
        "test": 12,
    }
    paths = {p.files.path(i) for p in (parts["train"], parts["val"]) for i in range(len(p))}
    assert len(paths) == 30


def test_the_number_of_workers_follows_the_machine(photos):
    assert source(photos, workers=None).load("train").reading.workers >= 1
    assert source(photos).load("train").reading.workers == 0


def test_only_training_images_may_be_skipped(photos):
    lenient = source(photos, corrupt="skip")
    assert lenient.load("train").reading.skip
    assert not lenient.load("test").reading.skip


def test_without_images_the_message_says_where_to_get_them(tmp_path):
    with pytest.raises(FileNotFoundError) as refused:
        source(tmp_path / "none").load("train")
    for words in ("train/<class>", "https://image-net.org", "147,897,477,120 bytes", "python -c"):
        assert words in str(refused.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fraction": 0.0}, "fraction must be above 0"),
        ({"resize": 8}, "resize must be at least image_size=16"),
        ({"workers": -1}, "workers must be 0 or more"),
        ({"timeout": 0}, "timeout must be positive"),
        ({"corrupt": "ignore"}, "corrupt must be error or skip"),
        ({"num_classes": 4}, "num_classes=4, but there are 3"),
        ({"classes": 4}, r"classes=4, but there are 3 \(all: classes=null\)"),
        ({"classes": ["dog"]}, "there is no dog, of 3"),
        ({"classes": ["bees"]}, "there is no bees; did you mean bee"),
    ],
)
def test_wrong_options_are_refused(photos, options, message):
    with pytest.raises(ValueError, match=message):
        source(photos, **options).load("train")
