"""A short training equals the same training in plain torch, step by step.

The plain training uses only the keyed random numbers of `engine`.
"""

import copy
import json
import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional as F

from engine.complexity import Cost
from engine.datasets.in_memory import Images
from engine.rng import fold_in, permutation, uniform
from engine.storage.run_dir import RunDir
from engine.training.fit import fit
from engine.training.recipe import Recipe
from engine.training.result import finish
from engine.training.run import Run
from engine.training.schedule import Cosine
from engine.transforms.batch import CropFlip

SEED, EPOCHS, STEPS, BATCH, CLASSES = 3, 2, 6, 8, 7
LR, WARMUP, MOMENTUM, DECAY, CLIP, SMOOTH, EMA = 0.3, 0.5, 0.9, 0.01, 0.9, 0.1, 0.8


def pictures(count, seed):
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.randint(256, (count, 8, 8, 3), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.arange(count) % CLASSES, tuple("abcdefg"))


TRAIN, TEST = pictures(44, 1), pictures(21, 2)  # five batches of 8 and one of 4


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, CLASSES),
    ).double()  # fmt: skip


def normalized(pixels):
    return pixels.permute(0, 3, 1, 2).double() / 127.5 - 1


def flat(net):
    return torch.cat([tensor.detach().double().flatten() for tensor in net.state_dict().values()])


def cropped(image, draws):
    top, left = int(draws[0] * 5), int(draws[1] * 5)
    part = F.pad(image, (0, 0, 2, 2, 2, 2))[top : top + 8, left : left + 8]
    return part.flip(1) if draws[2] < 0.5 else part


def accuracy(logits, labels):
    """Top-1 and top-5 in %, from the number of logits above the logit of the label."""
    above = (logits > logits.gather(1, labels[:, None])).sum(1)
    return [100 * (above < k).double().mean().item() for k in (1, 5)]


@torch.no_grad()
def update_plainly(net, average, velocity, gradients, norm, step, rate):
    for i, (p, g) in enumerate(zip(net.parameters(), gradients, strict=True)):
        g = g * min(1, CLIP / (norm + 1e-6)) + (DECAY * p if p.ndim > 1 else 0)
        velocity[i] = MOMENTUM * velocity[i] + g
        p -= rate * velocity[i]
    d, now = min(EMA, (1 + step) / (10 + step)), net.state_dict()
    for name, mean in average.state_dict().items():
        new = d * mean + (1 - d) * now[name]
        mean.copy_(new if mean.is_floating_point() else now[name])


def train_plainly(net):
    """Learning rates, losses, gradient norms, weights and averages after each step, and the log."""
    average, velocity = copy.deepcopy(net), [0] * len(list(net.parameters()))
    told = SimpleNamespace(rates=[], losses=[], norms=[], weights=[], averages=[], log=[])
    for epoch in range(EPOCHS):
        guesses = []
        for number, batch in enumerate(permutation(SEED, epoch, 44).split(BATCH)):
            step = epoch * STEPS + number
            draws = uniform(SEED, epoch, batch, 3).tolist()
            images = [cropped(TRAIN.pixels[i], d) for i, d in zip(batch, draws, strict=True)]
            torch.manual_seed(fold_in(SEED, step))
            logits, labels = net.train()(normalized(torch.stack(images))), TRAIN.labels[batch]
            log_p = logits - logits.exp().sum(1, keepdim=True).log()
            right = log_p[range(len(labels)), labels]
            loss = -((1 - SMOOTH) * right + SMOOTH * log_p.mean(1)).mean()
            gradients = torch.autograd.grad(loss, list(net.parameters()))
            norm = math.sqrt(sum(g.square().sum().item() for g in gradients))
            rate = LR * min(1, (step + 1) / (WARMUP * STEPS))
            rate *= (1 + math.cos(math.pi * step / (EPOCHS * STEPS))) / 2
            update_plainly(net, average, velocity, gradients, norm, step, rate)
            told.rates.append(rate)
            told.losses.append(loss.item())
            told.norms.append(norm)
            told.weights.append(flat(net))
            told.averages.append(flat(average))
            guesses.append((logits.detach(), labels))
        logits, labels = (torch.cat(part) for part in zip(*guesses, strict=True))
        losses = told.losses[-STEPS:]
        row = [told.rates[-STEPS], sum(losses) / STEPS, *accuracy(logits, labels)]
        logits = average.eval()(normalized(TEST.pixels)).detach()
        row += [F.cross_entropy(logits, TEST.labels).item(), *accuracy(logits, TEST.labels)]
        told.log.append([epoch + 1, *row])
    return told


NAMES = ["epoch", "train.lr", "train.loss", "train.top1", "train.top5"]
NAMES += ["test.loss", "test.top1", "test.top5"]
SOURCE = SimpleNamespace(
    normalize=normalized,
    splits=("train", "test"),
    load_all=lambda *machine: {"train": TRAIN, "test": TEST},
    describe=lambda images: "44 images",
    eval_splits=lambda last: ("test",),
)


def new_run():
    recipe = Recipe(
        epochs=EPOCHS, batch_size=BATCH, lr=LR, warmup_epochs=WARMUP, schedule=Cosine(),
        optimizer=partial(torch.optim.SGD, momentum=MOMENTUM, weight_decay=DECAY),
        augment=CropFlip(padding=2), label_smoothing=SMOOTH, clip_norm=CLIP, decay_norms=False,
        ema=EMA,
    )  # fmt: skip
    return Run(network(), recipe, SEED, "cpu", "fp32")


def watched(run):
    """Lists that grow with each step of `run`: rates, weights, averages, losses."""
    seen = SimpleNamespace(rates=[], weights=[], averages=[], losses=[])
    set_lr, update, next_epoch = run.set_lr, run.average.update, run.next_epoch

    def note_rate(rate):
        seen.rates.append(rate)
        set_lr(rate)

    def note_weights(model, step):
        update(model, step)
        seen.weights.append(flat(run.model))
        seen.averages.append(flat(run.average.model))

    def note_losses():
        seen.losses += run.losses.tolist()
        next_epoch()

    run.set_lr, run.average.update, run.next_epoch = note_rate, note_weights, note_losses
    return seen


@pytest.fixture(autouse=True)
def _float64(monkeypatch):
    """The loss, too, is in float64, so that rounding hides no difference."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)


@pytest.fixture(scope="module")
def told():
    return train_plainly(network())


@pytest.fixture
def folder(tmp_path):
    labels = {"data": "random", "model": "tiny", "attn": "none", "seed": SEED}
    return RunDir(tmp_path, {"data": {"image_size": 8}}, labels)


same = partial(pytest.approx, rel=1e-11, abs=1e-13)


def check_log(rows, told):
    assert [list(row) for row in rows] == [NAMES] * EPOCHS
    for row, expected in zip(rows, told.log, strict=True):
        assert list(row.values()) == same(expected)


def test_every_rate_loss_weight_and_logged_number_is_the_plain_one(folder, told):
    run = new_run()
    seen = watched(run)
    rows = fit(run, SOURCE, folder, False, 60)
    assert seen.rates == same(told.rates)
    assert seen.losses == same(told.losses)
    torch.testing.assert_close(seen.weights, told.weights, rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(seen.averages, told.averages, rtol=1e-11, atol=1e-13)
    check_log(rows, told)
    assert min(told.norms) < CLIP < max(told.norms), "some gradients are clipped and some are not"


def test_a_run_that_is_interrupted_has_the_plain_numbers_as_well(folder, told):
    """The process ends after three steps of the second epoch."""
    run, left = new_run(), iter(range(STEPS + 3))

    def end(rate):
        if next(left, None) is None:
            raise KeyboardInterrupt
        set_lr(rate)

    set_lr, run.set_lr = run.set_lr, end
    with pytest.raises(KeyboardInterrupt):
        fit(run, SOURCE, folder, False, 60)
    run.save(folder.path)
    run = new_run()
    seen = watched(run)
    check_log(fit(run, SOURCE, folder, False, 60), told)
    torch.testing.assert_close(seen.weights, told.weights[-3:], rtol=1e-11, atol=1e-13)


def test_what_is_kept_is_the_last_epoch_and_the_average(folder, told, monkeypatch):
    run = new_run()
    rows = fit(run, SOURCE, folder, False, 60)
    # `cost` works in float32.
    monkeypatch.setattr("engine.training.result.cost", lambda *network: Cost(1, 1, 1))
    result = finish(run, folder, rows)
    assert [result["top1"], result["top5"]] == same(told.log[-1][-2:])
    assert result["best_top1"] == same(max(row[-2] for row in told.log))
    log = (folder.path / "metrics.jsonl").read_text()
    assert [json.loads(line) for line in log.splitlines()] == rows
    kept = load_file(folder.path / "weights.safetensors")
    kept = torch.cat([kept[name].double().flatten() for name in run.model.state_dict()])
    torch.testing.assert_close(kept, told.averages[-1], rtol=1e-11, atol=1e-13)
