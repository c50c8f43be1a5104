"""One seed is one backbone and one stream of images, whatever the attention."""

from functools import partial

import pytest
import torch

import attn
from engine.augment import CropFlip
from engine.images import Images, Normalize
from engine.loop import train_epoch
from engine.recipe import Recipe
from engine.run import Run
from engine.schedule import Constant
from models import Slots, resnet20

SITES = {"none": [], "bam": ["stage"]}
SMALLER = {"se": {"reduction": 4}, "cbam": {"reduction": 4}, "bam": {"reduction": 4}}


def seen(name, seed):
    """(initial weights of the backbone, every batch as the network gets it) of a short run."""
    torch.manual_seed(seed)
    factory = partial(attn.names()[name], **SMALLER.get(name, {}))
    net = resnet20(num_classes=4, image_size=8, slots=Slots(factory, SITES.get(name, ["branch"])))
    recipe = Recipe(
        epochs=2, batch_size=8, lr=0.1, optimizer=torch.optim.SGD, schedule=Constant(),
        augment=CropFlip(padding=1),
    )  # fmt: skip
    run = Run(net, recipe, seed, "cpu", "fp32")
    weights = {key: value.clone() for key, value in net.state_dict().items()}
    batches = []
    net.register_forward_pre_hook(lambda module, args: batches.append(args[0].clone()))
    pixels = torch.randint(256, (20, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator())
    images = Images(pixels, torch.arange(20) % 4, tuple("abcd"))
    for _ in range(2):
        train_epoch(run, images, Normalize("cifar100"), lambda: None)
        run.next_epoch()
    return weights, batches


@pytest.fixture(scope="module")
def plain():
    return seen("none", 0)


@pytest.mark.parametrize("name", attn.names())
def test_runs_at_one_seed_are_pairs(name, plain):
    weights, batches = seen(name, 0)
    assert all(weights[key].equal(value) for key, value in plain[0].items())
    assert len(batches) == 6
    assert all(map(torch.equal, batches, plain[1]))


def test_control_another_seed_has_another_backbone_and_other_batches(plain):
    weights, batches = seen("none", 1)
    assert not weights["conv1.weight"].equal(plain[0]["conv1.weight"])
    assert not batches[0].equal(plain[1][0])
