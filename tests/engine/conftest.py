from functools import partial

import pytest
import torch
from torch import nn

from engine.datasets.in_memory import Images
from engine.training.recipe import Recipe
from engine.training.run import Run
from engine.training.schedule import Cosine
from engine.transforms.batch import CropFlip


def net():
    """A small network with all a checkpoint must hold: running statistics, momentum, dropout."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 3),
    )  # fmt: skip


@pytest.fixture
def new_run():
    """Make a run of the small net; options go to its recipe."""

    def make(seed=0, **options):
        given = {
            "epochs": 3,
            "batch_size": 8,
            "lr": 0.1,
            "optimizer": partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-3),
            "schedule": Cosine(),
            "augment": CropFlip(padding=1),
        }
        return Run(net(), Recipe(**given | options), seed, "cpu", "fp32")

    return make


@pytest.fixture
def images():
    """28 random images of three classes: three batches of 8 and one of 4."""
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (28, 8, 8, 3), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.arange(28) % 3, ("a", "b", "c"))
