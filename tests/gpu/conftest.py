"""A small network on a GPU, and the ways to train it. All tests of this folder need a GPU."""

from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from hydra import compose, initialize_config_dir

from engine.datasets.in_memory import Images
from engine.environment import prepare_device
from engine.training.graph import use_graphs
from engine.training.loop import train_epoch
from engine.training.run import Run
from engine.transforms.normalize import Normalize
from scripts.cli.compose import build
from scripts.cli.overrides import CONF

NORMALIZE = Normalize("cifar100")
BATCH = 16


class Stop(BaseException):
    """Stands for a signal between two steps."""


@pytest.fixture(scope="module", autouse=True)
def _hydra():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


@contextmanager
def switches(deterministic):
    """The GPU as train.py sets it up; afterwards the switches of the process as they were."""
    before = torch.get_deterministic_debug_mode(), torch.backends.cudnn.benchmark
    prepare_device("cuda", deterministic)
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(before[0])
        torch.backends.cudnn.benchmark = before[1]


@pytest.fixture(autouse=True)
def _deterministic():
    with switches(True):
        yield


@pytest.fixture(scope="session")
def images():
    """Random images: ten batches, and one of half the size."""
    count, generator = 10 * BATCH + BATCH // 2, torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (count, 32, 32, 3), dtype=torch.uint8, generator=generator)
    names = tuple(map(str, range(100)))
    return Images(pixels, torch.arange(count) % 100, names).to("cuda")


@pytest.fixture
def new_run(images):
    """Make a run of a small network; `options` are those of the recipe."""

    def make(attn="none", precision="strict_fp32", graph=False, compile=None, **options):
        cfg = compose("train", ["model=resnet8", f"attn={attn}", "recipe=cifar_200ep"])
        torch.manual_seed(0)
        given = {"epochs": 2, "batch_size": BATCH, "lr": 0.05}
        recipe = replace(build(cfg.recipe), **given | options)
        run = Run(build(cfg.model), recipe, 0, "cuda", precision, compile=compile)
        use_graphs(run, {"train": images}, NORMALIZE, graph)
        return run

    return make


@pytest.fixture
def train(images):
    """Train a run to its last epoch, or until `steps` steps are done; return the losses."""

    def trained(run, steps=10**9):
        left, losses = iter(range(steps)), []

        def check():
            if next(left, None) is None:
                raise Stop

        try:
            while run.epoch < run.recipe.epochs:
                train_epoch(run, images, NORMALIZE, check)
                losses += run.losses.tolist()
                run.next_epoch()
        except Stop:
            losses += run.losses.tolist()
        return losses

    return trained


@pytest.fixture
def same_bits():
    """Whether two runs have the same weights, buffers, averages and optimizer states."""

    def same(a, b):
        left, right = (torch.utils._pytree.tree_leaves(run.copy()) for run in (a, b))
        pairs = [
            pair for pair in zip(left, right, strict=True) if isinstance(pair[0], torch.Tensor)
        ]
        return len(pairs) > 10 and all(one.equal(other) for one, other in pairs)

    return same
