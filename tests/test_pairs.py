"""With one seed, every attention gets the same backbone and the same images."""

import pytest
import torch

import attn
from engine.datasets.in_memory import Images
from engine.training.loop import train_epoch
from engine.training.recipe import Recipe
from engine.training.run import Run
from engine.training.schedule import Constant
from engine.transforms.batch import CropFlip, Identity
from engine.transforms.normalize import Normalize
from models import Slots, resnet20

SITES = {"none": [], "bam": ["stage"], "simam": ["prenorm"]}
FITTING = {  # options that fit the 16 channels of a ResNet-20
    "shuffle": {"groups": 4},
    "ema": {"groups": 4},
    "psa": {"branch_groups": (1, 1, 2, 4), "reduction": 4},
}


def slots(name):
    """The slots that this mechanism's file in conf/attn fills."""
    mechanism = attn.names()[name]
    factory = mechanism.factory(**FITTING.get(name, {}))
    if mechanism.slot == "site":
        return Slots(factory, SITES.get(name, ["branch"]))
    return Slots(**{mechanism.slot: factory})


def seen(name, seed, augment=None):
    """(initial weights of the backbone, every batch as the network gets it) of a short run."""
    torch.manual_seed(seed)
    net = resnet20(num_classes=4, image_size=8, slots=slots(name))
    recipe = Recipe(
        epochs=2, batch_size=8, lr=0.1, optimizer=torch.optim.SGD, schedule=Constant(),
        augment=augment or CropFlip(padding=1),
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
    shared = [key for key in plain[0] if key in weights or attn.names()[name].slot == "site"]
    assert all(weights[key].equal(plain[0][key]) for key in shared)
    assert {"conv1.weight", "layer3.2.conv2.weight", "fc.weight"} <= set(shared)
    assert len(batches) == 6
    assert all(map(torch.equal, batches, plain[1]))


def test_control_another_seed_has_another_backbone_and_other_batches(plain):
    weights, batches = seen("none", 1)
    assert not weights["conv1.weight"].equal(plain[0]["conv1.weight"])
    assert not batches[0].equal(plain[1][0])


def test_control_another_seed_has_another_order_and_other_crops():
    """First without augmentation, so that sorted images of an epoch are equal."""
    ordered = lambda batches: torch.cat(batches[:3]).flatten(1).sort(0).values  # noqa: E731
    (_, one), (_, other) = (seen("none", seed, Identity()) for seed in (0, 1))
    assert not torch.cat(one[:3]).equal(torch.cat(other[:3]))
    assert ordered(one).equal(ordered(other)), "an epoch has every image once"
    (_, one), (_, other) = (seen("none", seed) for seed in (0, 1))
    assert not ordered(one).equal(ordered(other))
