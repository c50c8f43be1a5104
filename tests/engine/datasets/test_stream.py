import itertools
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from engine.datasets.image_files import find
from engine.datasets.in_memory import Images
from engine.datasets.stream import ReadOptions, Stream
from engine.errors import ConfigError, DataError
from engine.rng import permutation, uniform
from engine.training.loop import evaluate, train_epoch
from engine.transforms.batch import CropFlip, Identity
from engine.transforms.crop import ResizedCrop
from engine.transforms.normalize import Normalize


def stream(root, workers=0, size=16, **options):
    files = find(root)
    reading = ReadOptions(size, size + 4, workers, 60, **options)
    return Stream(files, reading, files.labels, files.classes)


def batches(images, batch_size=8, augment=None, seed=0, epoch=0):
    parts = permutation(seed, epoch, len(images)).split(batch_size)
    return list(images.batches(parts, augment or ResizedCrop(), seed, epoch))


def same(a, b):
    return all(p.equal(q) and k.equal(m) for (p, k), (q, m) in zip(a, b, strict=True))


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_are_the_same_whatever_the_workers(photos, workers):
    alone, helped = stream(photos / "train"), stream(photos / "train", workers)
    for epoch in (0, 1):  # the second epoch uses the same processes
        assert same(batches(alone, epoch=epoch), batches(helped, epoch=epoch))


ONLY_THEN = ResizedCrop((1.0, 1.0), (1.0, 1.0), flip=False, then=CropFlip(padding=3))


@pytest.mark.parametrize("augment", [ResizedCrop(), ONLY_THEN], ids=["the crop", "what follows"])
def test_every_epoch_of_every_seed_cuts_each_image_anew(photos, augment):
    """The same images in the same order, for two seeds and two epochs."""
    images, order = stream(photos / "train"), torch.arange(30)
    at = [*itertools.product((0, 1), (0, 1))]
    (of_four,) = zip(*(images.batches([order], augment, *when) for when in at), strict=True)
    for (one, _), (other, _) in itertools.combinations(of_four, 2):
        assert (one == other).flatten(1).all(1).sum() < 6, "chance may cut an image the same twice"
    for when, (pixels, _) in zip(at, of_four, strict=True):
        ((again, _),) = images.batches([order], augment, *when)
        assert again.equal(pixels)


def test_batches_of_real_photographs_are_the_same_whatever_the_workers(sample):
    expected = batches(stream(sample, 0, 64), 32)
    assert same(expected, batches(stream(sample, 1, 64), 32))
    assert same(expected, batches(stream(sample, 2, 64), 32))


def test_an_image_is_the_same_in_any_batch(photos):
    images = stream(photos / "train")
    by_size = []
    for batch_size in (8, 30):
        order = permutation(0, 0, 30)
        pixels = torch.cat([pixels for pixels, _ in batches(images, batch_size)])
        by_size.append(pixels[order.argsort()])
    assert by_size[0].equal(by_size[1])
    few = torch.tensor([7, 2])
    ((pixels, labels),) = images.batches([few], ResizedCrop(), 0, 0)
    assert pixels.equal(by_size[0][few])
    assert labels.equal(images.labels[few])


def test_evaluation_is_that_of_torchvision(photos):
    """With torchvision's folder, decoder and transforms, every pixel and label is equal."""
    transform = v2.Compose([v2.Resize(20), v2.CenterCrop(16), v2.PILToTensor()])
    theirs = ImageFolder(photos / "val", transform)
    ((pixels, labels),) = batches(stream(photos / "val"), 12, Identity())
    order = permutation(0, 0, 12)
    assert pixels.permute(0, 3, 1, 2).equal(torch.stack([theirs[i][0] for i in order]))
    assert labels.tolist() == [theirs[i][1] for i in order]
    assert stream(photos / "val").classes == tuple(theirs.classes)


def test_what_comes_then_treats_the_batch_with_draws_of_its_own(photos):
    images = stream(photos / "train")
    plain = ResizedCrop()
    then = ResizedCrop(then=CropFlip(padding=2))
    order = torch.arange(30)
    ((cut, _),) = images.batches([order], plain, 5, 2)
    ((cut_and_moved, _),) = images.batches([order], then, 5, 2)
    draws = uniform(5, 2, order, plain.draws + 3)[:, plain.draws :]
    assert cut_and_moved.equal(then.then(cut, draws))
    assert not cut_and_moved.equal(cut)


def test_a_part_of_the_images_keeps_names_and_labels(photos):
    images = stream(photos / "train")
    part = images.take(torch.tensor([25, 3]))
    assert [part.files.path(i) for i in (0, 1)] == [images.files.path(i) for i in (25, 3)]
    assert part.labels.tolist() == [2, 0]
    assert len(part) == 2


def test_augmentation_of_the_wrong_kind_is_refused_in_one_line(photos, images):
    with pytest.raises(
        ConfigError, match=r"CropFlip acts on images in memory.*recipe=imagenet_90ep$"
    ):
        batches(stream(photos / "train"), augment=CropFlip())
    assert isinstance(images, Images)
    with pytest.raises(ConfigError, match=r"ResizedCrop acts on images while they are read"):
        batches(images, augment=ResizedCrop())


@pytest.fixture
def damaged(photos, tmp_path):
    """The training images; two of the files are no images."""
    root = tmp_path / "train"
    for folder in (photos / "train").iterdir():
        (root / folder.name).mkdir(parents=True)
        for file in folder.iterdir():
            os.link(file, root / folder.name / file.name)
    for name in ("ant/3.JPEG", "cat/0.JPEG"):
        (root / name).unlink()
        (root / name).write_bytes(b"no image")
    return root


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_read_stops_the_run_with_its_path(damaged, workers):
    with pytest.raises(DataError, match=r"(ant/3|cat/0)\.JPEG cannot be read.*data\.corrupt=skip"):
        batches(stream(damaged, workers))


@pytest.mark.parametrize("workers", [0, 1])
def test_it_may_be_left_out_in_training_and_is_counted(damaged, workers, photos, capsys):
    whole, part = batches(stream(photos / "train")), batches(stream(damaged, workers, skip=True))
    missing = torch.tensor([3, 20])
    for order, (a, labels), (b, kept) in zip(
        permutation(0, 0, 30).split(8), whole, part, strict=True
    ):
        there = torch.isin(order, missing).logical_not()
        assert a[there].equal(b)
        assert labels[there].equal(kept)
    assert "data: 2 of 30 images left out: " in capsys.readouterr().err


def test_it_is_never_left_out_of_an_evaluation(damaged):
    with pytest.raises(DataError, match="cannot be read"):
        batches(stream(damaged, skip=True), augment=Identity())


def test_a_batch_of_which_too_little_is_left_is_refused(damaged):
    images = stream(damaged, skip=True).take(torch.tensor([3, 4]))
    with pytest.raises(DataError, match="a batch has 1 images"):
        batches(images)


class Kill(BaseException):
    pass


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_interrupted_within_an_epoch_ends_the_same(new_run, photos, tmp_path, workers):
    images, normalize = stream(photos / "train", workers, 8), Normalize("imagenet")

    def train(run, steps=None):
        count = iter(range(steps)) if steps is not None else iter(int, 1)

        def check():
            if next(count, None) is None:
                raise Kill

        while run.epoch < 2:
            train_epoch(run, images, normalize, check)
            run.next_epoch()

    options = {"epochs": 2, "augment": ResizedCrop()}
    unbroken = new_run(**options)
    train(unbroken)
    for steps in (2, 4, 5):
        run, resumed = new_run(**options), new_run(**options)
        with pytest.raises(Kill):
            train(run, steps)
        run.save(tmp_path)
        assert resumed.resume(tmp_path)
        train(resumed)
        state, expected = resumed.model.state_dict(), unbroken.model.state_dict()
        assert all(state[name].equal(value) for name, value in expected.items())
    measured = evaluate(unbroken, images, normalize, lambda: None)
    assert measured["top5"] == 100


def test_photographs_are_not_rotated_and_lose_their_alpha(tmp_path):
    """As in torchvision, and so in published measurements."""
    folder = tmp_path / "a"
    folder.mkdir()
    pixels = np.zeros((24, 24, 4), np.uint8)
    pixels[:12] = (200, 100, 50, 0)
    Image.fromarray(pixels).save(folder / "alpha.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # EXIF: show turned by 90 degrees
    Image.fromarray(pixels[..., :3]).save(folder / "turned.jpg", exif=exif, quality=95)
    ((read, _),) = stream(tmp_path).batches([torch.arange(2)], Identity(), 0, 0)
    assert read[0, 2, 8].tolist() == [200, 100, 50]
    assert (read[:, 13:].int() < 9).all()


@pytest.mark.parametrize("channels", [1, 4])
def test_streamed_images_have_the_channels_that_the_user_says(photos, channels):
    images = stream(photos / "train", 0, 8)
    images = replace(images, reading=replace(images.reading, channels=channels))
    ((pixels, _),) = images.batches([torch.arange(3)], Identity(), 0, 0)
    assert pixels.shape == (3, 8, 8, channels)
    rgb, _ = next(stream(photos / "train", 0, 8).batches([torch.arange(3)], Identity(), 0, 0))
    if channels == 4:
        assert pixels[..., :3].equal(rgb)
