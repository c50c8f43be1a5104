"""Several ranks compute the numbers of one process: gloo, 127.0.0.1, small networks."""

import os
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import nn

from engine.datasets.in_memory import Images
from engine.distributed.launch import process_group
from engine.distributed.ranks import SINGLE_PROCESS
from engine.distributed.sync_batchnorm import SyncBatchNorm
from engine.errors import ConfigError
from engine.training.loop import predict, train_epoch
from engine.training.recipe import Recipe
from engine.training.run import Run
from engine.training.schedule import Cosine
from engine.transforms.batch import CropFlip
from engine.transforms.normalize import Normalize
from tests import ranked


class Doubled(Normalize):
    """Images in float64, so that a difference is an error and not rounding."""

    def __call__(self, pixels):
        return super().__call__(pixels).double()


NORMALIZE = Normalize("cifar100")


def several(rank, world):
    from engine.distributed.process_group import (
        MultiProcess,  # imports torch.distributed: only where a test needs it
    )

    return MultiProcess(rank, world)


def net():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(32, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3),
    )  # fmt: skip


def pictures(count):
    generator = torch.Generator().manual_seed(1)
    pixels = torch.randint(256, (count, 8, 8, 3), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.arange(count) % 3, ("a", "b", "c"))


def recipe(**options):
    given = {
        "epochs": 2, "batch_size": 16, "lr": 0.05, "schedule": Cosine(), "augment": CropFlip(1),
        "optimizer": partial(torch.optim.SGD, momentum=0.9, weight_decay=1e-3),
    }  # fmt: skip
    return Recipe(**given | options)


FEATURES = {"clip_norm": 0.5, "ema": 0.9, "label_smoothing": 0.1, "decay_norms": False}


def trained(ranks, options, synced=True, images=60, normalize=NORMALIZE, epochs=2):
    """A run and the losses of its steps."""
    model = ranks.convert_sync_batchnorm(net()) if synced else net()
    run = Run(model, recipe(**options), 0, "cpu", "fp32", ranks)
    if isinstance(normalize, Doubled):
        run.model.double(), run.eval_model.double()
    losses = []
    for _ in range(epochs):
        train_epoch(run, pictures(images), normalize, lambda: None)
        losses += run.losses
        run.next_epoch()
    return run, torch.stack(losses)


def train_and_keep(folder, arguments):
    with process_group("the same") as ranks:
        run, losses = trained(ranks, **arguments)
        kept = {"losses": losses, "model": run.eval_model.state_dict(), "trained": run.state_dict()}
        torch.save(kept, folder / f"{ranks.rank}.pt")


def on(world, folder, **arguments):
    """The losses and states that each rank ended with."""
    assert ranked.run(world, train_and_keep, folder, arguments) == [0] * world
    return [torch.load(folder / f"{rank}.pt") for rank in range(world)]


def furthest(a, b):
    return max((a[key].double() - b[key].double()).abs().max().item() for key in a)


@pytest.mark.parametrize("world", [2, 3])
def test_several_ranks_train_what_one_does_in_float64(tmp_path, monkeypatch, world):
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    exact = {"options": FEATURES, "normalize": Doubled("cifar100")}
    run, losses = trained(SINGLE_PROCESS, **exact)
    assert ranked.run(world, in_float64, tmp_path, exact) == [0] * world
    for rank in range(world):
        found = torch.load(tmp_path / f"{rank}.pt")
        assert (found["losses"] - losses).abs().max() < 1e-12
        assert furthest(found["model"], run.eval_model.state_dict()) < 1e-12


def in_float64(folder, arguments):
    torch.Tensor.float = torch.Tensor.double
    train_and_keep(folder, arguments)


def test_fifty_steps_in_float32(tmp_path):
    fifty = {"options": {"epochs": 13, "lr": 0.01}, "epochs": 13}
    losses = trained(SINGLE_PROCESS, **fifty)[1]
    assert len(losses) == 52
    assert (on(2, tmp_path, **fifty)[0]["losses"] - losses).abs().max() < 1e-5


def test_control_without_synced_statistics_the_losses_are_others(tmp_path):
    losses = trained(SINGLE_PROCESS, {})[1]
    assert (on(2, tmp_path, options={}, synced=False)[0]["losses"] - losses).abs().max() > 1e-3


@pytest.mark.parametrize("options", [{}, FEATURES, {"mixup": 0.4, "accumulate": 2}])
def test_all_ranks_hold_the_same_to_the_bit(tmp_path, options):
    first, second = on(2, tmp_path, options=options, synced=False)
    assert first["losses"].equal(second["losses"])
    for part in ("model", "average"):
        a, b = first["trained"][part], second["trained"][part]
        assert all(a[key].equal(b[key]) for key in a)
    assert first["trained"]["correct"].equal(second["trained"]["correct"])


def measure(folder, sizes):
    with process_group("the same") as ranks:
        run = Run(net(), recipe(), 0, "cpu", "fp32", ranks)
        for size in sizes:
            kept = [*predict(run, pictures(size), NORMALIZE)]
            torch.save(kept, folder / f"{size}.{ranks.rank}.pt")


SIZES = (5, 1000, 1001, 1002, 1003)


@pytest.mark.parametrize("world", [2, 3, 4])
def test_every_image_is_measured_once(tmp_path, world):
    assert ranked.run(world, measure, tmp_path, SIZES) == [0] * world
    run = Run(net(), recipe(), 0, "cpu", "fp32")
    for size in SIZES:
        losses, hit, guesses = predict(run, pictures(size), NORMALIZE)
        for rank in range(world):
            found_losses, found_hit, found_guesses = torch.load(tmp_path / f"{size}.{rank}.pt")
            assert found_losses.shape == (size,)
            assert torch.allclose(found_losses, losses, atol=1e-6)
            assert found_hit.equal(hit)
            assert found_guesses.equal(guesses)


def test_the_parts_of_a_batch_are_the_batch():
    batch = torch.randperm(131)
    for world in (2, 3, 4, 8):
        parts = [several(rank, world).shard(batch) for rank in range(world)]
        assert torch.cat(parts).equal(batch)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def normalize(folder):
    with process_group("the same") as ranks:
        for name, x, g in normed():
            norm = ranks.convert_sync_batchnorm(plain(name))
            assert isinstance(norm, SyncBatchNorm)
            x = ranks.shard(x).clone().requires_grad_()
            y = norm(x)
            y.backward(ranks.shard(g))
            kept = (y, x.grad, norm.weight.grad, norm.bias.grad, norm.state_dict())
            torch.save(kept, folder / f"{name}.{ranks.rank}.pt")


def plain(name):
    norm = {"1d": nn.BatchNorm1d, "2d": nn.BatchNorm2d, "mean": nn.BatchNorm2d}[name](4)
    norm.momentum = None if name == "mean" else 0.3
    nn.init.uniform_(norm.weight, generator=torch.Generator().manual_seed(0))
    return norm.double()


def normed():
    generator = torch.Generator().manual_seed(2)
    for name, shape in (("1d", (7, 4)), ("2d", (7, 4, 3, 2)), ("mean", (7, 4, 3, 2))):
        yield name, *torch.randn(2, *shape, dtype=torch.float64, generator=generator) * 3 + 5


def test_synced_batch_norm_is_batch_norm_of_the_whole(tmp_path):
    assert ranked.run(3, normalize, tmp_path) == [0, 0, 0]
    for name, x, g in normed():
        norm, x = plain(name), x.clone().requires_grad_()
        y = norm(x)
        y.backward(g)
        parts = [torch.load(tmp_path / f"{name}.{rank}.pt") for rank in range(3)]
        assert torch.allclose(torch.cat([part[0] for part in parts]), y)
        assert torch.allclose(torch.cat([part[1] for part in parts]), x.grad, atol=1e-12)
        for i, of in ((2, norm.weight), (3, norm.bias)):
            assert torch.allclose(sum(part[i] for part in parts), of.grad)
        for *_, state in parts:
            assert all(torch.allclose(state[k], v) for k, v in norm.state_dict().items())


def test_conversion_keeps_names_values_and_the_optimizer(tmp_path):
    model = net()
    before = {name: id(p) for name, p in model.named_parameters()}
    synced = several(0, 2).convert_sync_batchnorm(model)
    assert {name: id(p) for name, p in synced.named_parameters()} == before
    assert synced.state_dict().keys() == net().state_dict().keys()
    assert sum(isinstance(module, SyncBatchNorm) for module in synced.modules()) == 2
    assert synced.eval()(torch.zeros(2, 3, 8, 8)).equal(net().eval()(torch.zeros(2, 3, 8, 8)))


def leave_out(folder):
    with process_group("the same") as ranks:
        model = nn.Linear(1, 1, bias=False)
        here = (3, 1)[ranks.rank]  # each rank has 4 images and could read this many
        model.weight.grad = torch.full((1, 1), here * 6.0 / 8)  # the gradient of each image is 6
        hits = torch.tensor([here, here])
        loss, hits = ranks.all_reduce_gradients(model, torch.tensor(here * 2.0 / 8), hits, here, 8)
        assert model.weight.grad.item() == 6
        assert loss.item() == 2
        assert hits.tolist() == [4, 4]


def test_images_that_cannot_be_read_do_not_make_a_step_shorter(tmp_path):
    assert ranked.run(2, leave_out, tmp_path) == [0, 0]


def refuse(folder, message, rank, identities):
    os.dup2(os.open(folder / "err", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
    with process_group(identities[int(os.environ["RANK"])]) as ranks:
        if ranks.rank == rank:
            raise ConfigError(message)
        ranks.all_reduce_max(0)


@pytest.mark.parametrize("rank", [0, 1])
def test_what_one_rank_refuses_ends_all_and_is_said_once(tmp_path, rank):
    assert ranked.run(2, refuse, tmp_path, "no such thing", rank, ("a", "a")) == [2, 2]
    assert (tmp_path / "err").read_text().splitlines()[0].endswith(": no such thing")
    assert len((tmp_path / "err").read_text().splitlines()) == 1


def test_ranks_of_different_options_are_refused(tmp_path):
    assert ranked.run(2, refuse, tmp_path, "", 3, ("a", "b")) == [2, 2]
    assert "rank 1 was started with other options" in (tmp_path / "err").read_text()


def test_too_few_images_for_so_many_ranks_are_refused():
    several(0, 4).require_enough_images(128, 50_000, 10_000)
    several(0, 4).require_enough_images(8, 25, 4)  # a last batch of one image is skipped
    for batch_size, train, measured in ((6, 600, 100), (8, 27, 100), (8, 24, 3)):
        with pytest.raises(ConfigError, match="4 ranks"):
            several(0, 4).require_enough_images(batch_size, train, measured)


def test_each_rank_has_a_device_of_its_own():
    assert several(1, 2).device("cpu") == "cpu"
    assert several(1, 2).device("cuda") == "cuda:1"
    with pytest.raises(ConfigError, match="a GPU each"):
        several(1, 2).device("cuda:0")


def test_alone_nothing_changes():
    batch, model = torch.arange(5), net()
    assert SINGLE_PROCESS.shard(batch) is batch
    assert SINGLE_PROCESS.convert_sync_batchnorm(model) is model
    assert (
        SINGLE_PROCESS.all_reduce_max(7),
        SINGLE_PROCESS.gradient_images(3, 4),
        SINGLE_PROCESS.world_size,
    ) == (7, 3, 1)
    assert replace(recipe(), accumulate=2).parts(3) == 1
