"""Each pair of seed and epoch has its own order, crops and dropout."""

import itertools
from functools import partial

import pytest
import torch
from torch import nn

from engine.datasets.in_memory import Images
from engine.distributed.ranks import SingleProcess
from engine.rng import permutation, uniform
from engine.seeds import Seeds
from engine.training.loop import train_epoch
from engine.transforms.batch import CropFlip, Identity

FOUR = list(itertools.product((0, 1), (0, 1)))  # (seed, epoch); two of the four have equal sums


def as_float(pixels):
    return pixels.permute(0, 3, 1, 2).float()


def seen(new_run, images, **options):
    """{(seed, epoch): the images (N, 3, H, W) in the order in which the network gets them}."""
    batches = {}
    for seed in (0, 1):
        run = new_run(seed, epochs=2, **options)
        for epoch in (0, 1):
            given = batches[seed, epoch] = []
            hook = run.model.register_forward_pre_hook(
                lambda module, args, given=given: given.append(args[0].clone())
            )
            train_epoch(run, images, as_float, lambda: None)
            run.next_epoch()
            hook.remove()
    return {at: torch.cat(given) for at, given in batches.items()}


def test_every_epoch_of_every_seed_has_its_own_order(new_run):
    numbers = torch.arange(28)
    pixels = numbers.to(torch.uint8)[:, None, None, None].expand(28, 8, 8, 3).contiguous()
    numbered = Images(pixels, numbers % 3, ("a", "b", "c"))
    found = seen(new_run, numbered, augment=Identity())
    orders = {at: images[:, 0, 0, 0].long() for at, images in found.items()}
    assert all(orders[at].equal(permutation(*at, 28)) for at in FOUR)
    for one, other in itertools.combinations(FOUR, 2):
        assert (orders[one] == orders[other]).sum() < 10, "only chance leaves an image in its place"


def test_every_epoch_of_every_seed_crops_and_flips_each_image_anew(new_run, images):
    augment = CropFlip(padding=2)
    found = seen(new_run, images, augment=augment)
    crops = {at: found[at][permutation(*at, 28).argsort()] for at in FOUR}  # by image
    for at in FOUR:
        draws = uniform(*at, torch.arange(28), augment.draws)
        assert crops[at].equal(as_float(augment(images.pixels, draws)))
    for one, other in itertools.combinations(FOUR, 2):
        equal = (crops[one] == crops[other]).flatten(1).all(1).sum()
        assert equal < 10, "50 ways to cut an image: chance gives two images the same cut twice"


class Noise(nn.Module):
    """Draws random numbers as dropout does, and keeps them."""

    def __init__(self):
        super().__init__()
        self.drawn = []

    def forward(self, x):
        self.drawn.append(tuple(torch.rand(4).tolist()))
        return x


class Rank(SingleProcess):
    def __init__(self, rank):
        self.rank = rank


def masks(make, images, seed, rank):
    """The draws of dropout in the eight steps of two epochs."""
    run = make(seed)
    run.ranks, run.model[3] = Rank(rank), Noise()
    for _ in range(2):
        train_epoch(run, images, as_float, lambda: None)
        run.next_epoch()
    return run.model[3].drawn


def test_every_step_seed_and_rank_has_its_own_dropout_mask(new_run, images):
    make = partial(new_run, epochs=2, augment=Identity())
    every = [masks(make, images, seed, rank) for seed in (0, 1) for rank in (0, 1)]
    assert [len(drawn) for drawn in every] == [8] * 4
    assert len(set(itertools.chain(*every))) == 32
    assert masks(make, images, 0, 0) == every[0]


@pytest.mark.parametrize("epoch", [0, 1])
def test_numbers_of_a_seed_are_not_those_of_another_seed_in_another_epoch(epoch):
    """They would be equal if the key were the sum of seed and epoch."""
    samples = torch.arange(100)
    one, other = uniform(0, epoch + 1, samples, 2), uniform(1, epoch, samples, 2)
    assert (one == other).sum() < 3
    assert not permutation(0, epoch + 1, 100).equal(permutation(1, epoch, 100))


def test_one_part_has_another_seed_and_the_other_part_stays_bit_for_bit(new_run, images):
    """Of each run: the order of the images, and each image as the network gets it."""
    augment = CropFlip(padding=2)
    for seeds in (Seeds(0, 0, 0), Seeds(0, 1, 0), Seeds(0, 0, 1)):
        (got, *_) = seen(partial(apart, new_run, seeds), images, augment=augment).values()
        order = permutation(seeds.order, 0, 28)
        draws = uniform(seeds.augment, 0, torch.arange(28), augment.draws)
        assert got.equal(as_float(augment(images.pixels, draws))[order])


def apart(new_run, seeds, _, **options):
    return new_run(seeds, **options)
