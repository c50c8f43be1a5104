import pytest
import torch

from engine.datasets.digits import Digits


def digits(**options):
    return Digits(**{"num_classes": 10, "image_size": 8, "statistics": "digits"} | options)


def pixels(source, split):
    return {image.numpy().tobytes() for image in source.load(split).pixels}


def test_digits_are_all_there_once():
    train, test = digits().load("train"), digits().load("test")
    assert (len(train), len(test)) == (1437, 360)
    assert torch.bincount(torch.cat([train.labels, test.labels])).tolist() == [
        178, 182, 177, 183, 181, 182, 181, 179, 174, 180,
    ]  # fmt: skip
    assert train.pixels.shape == (1437, 8, 8, 3)


def test_digits_are_enlarged_by_repetition():
    small, large = digits().load("test"), digits(image_size=32).load("test")
    assert large.pixels[:, ::4, 3::4].equal(small.pixels)
    assert small.pixels.max() == 255


def test_held_out_images_come_from_the_training_set_alone():
    source = digits(val=200)
    parts = {split: source.load(split) for split in ("train", "val", "test")}
    assert {split: len(images) for split, images in parts.items()} == {
        "train": 1237,
        "val": 200,
        "test": 360,
    }
    assert pixels(source, "val") | pixels(source, "train") == pixels(digits(), "train")
    assert pixels(source, "test") == pixels(digits(), "test")


def test_the_test_set_is_looked_at_last_when_images_are_held_out():
    assert digits().eval_splits(last=False) == ("test",)
    assert digits(val=1).eval_splits(last=False) == ("val",)
    assert digits(val=1).eval_splits(last=True) == ("val", "test")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 12}, "multiple of 8"),
        ({"image_size": 0}, "positive"),
        ({"val": -1}, "0 or more"),
        ({"statistics": "x"}, "choose from"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        digits(**options)


def test_a_wrong_number_of_classes_is_refused():
    with pytest.raises(ValueError, match="num_classes=11, but there are 10"):
        digits(num_classes=11).load("train")


def test_holding_out_everything_is_refused():
    with pytest.raises(ValueError, match="val=1437 leaves none"):
        digits(val=1437).load("train")
