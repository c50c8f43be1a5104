import copy
import math
import os
import signal
from functools import partial

import pytest
import torch

from engine.environment import prepare_device
from engine.errors import ConfigError
from engine.rng import permutation
from engine.storage import checkpoint
from engine.storage.checkpoint import Writer
from engine.training import recipe
from engine.training.interruption import Interruption
from engine.training.loop import (
    accuracy_by_class,
    evaluate,
    pause,
    predict,
    topk_correct,
    train_epoch,
    train_step,
)
from engine.training.run import Run
from engine.transforms.batch import Identity
from engine.transforms.normalize import Normalize

NORMALIZE = Normalize("cifar100")


def never():
    pass


class Kill(BaseException):
    pass


def after(steps):
    """A check that ends the loop after `steps` steps."""
    count = iter(range(steps))

    def check():
        if next(count, None) is None:
            raise Kill

    return check


def to_the_end(run, images, check=never, rows=None):
    rows = [] if rows is None else rows
    while run.epoch < run.recipe.epochs:
        rows.append(train_epoch(run, images, NORMALIZE, check))
        run.next_epoch()
    return rows


def leaves(state, path=()):
    """Every tensor and number of a run's state, except the numbers of its speed."""
    items = state.items() if isinstance(state, dict) else enumerate(state)
    for key, value in items:
        if isinstance(value, dict | list | tuple):
            yield from leaves(value, (*path, key))
        elif key not in ("seconds", "images"):
            yield (*path, key), value


def equal(a, b):
    a, b = (dict(leaves(run.state_dict())) for run in (a, b))
    same = lambda x, y: x.equal(y) if isinstance(x, torch.Tensor) else x == y  # noqa: E731
    return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)


ADAMW = {"optimizer": partial(torch.optim.AdamW, weight_decay=0.1), "lr": 0.01}
FEATURES = {
    "plain": {},
    "ema": {"ema": 0.9},
    "mixup": {"mixup": 0.4},
    "cutmix": {"cutmix": 1.0},
    "mixup or cutmix": {"mixup": 0.4, "cutmix": 1.0},
    "randaugment": {"randaugment": 9},
    "label smoothing": {"label_smoothing": 0.1},
    "accumulate": {"accumulate": 3},
    "clip": {"clip_norm": 0.05},
    "decay": {"decay_norms": False},
    "adamw": ADAMW,
}
FEATURES["all"] = {name: value for options in FEATURES.values() for name, value in options.items()}


def interrupted(new_run, images, folder, steps, options):
    """The rows of a run that ended after `steps` steps and was saved."""
    run, rows = new_run(**options), []
    with pytest.raises(Kill):
        to_the_end(run, images, after(steps), rows)
    run.save(folder)
    return rows


@pytest.mark.parametrize(
    ("feature", "steps"),
    [(feature, steps) for feature in FEATURES for steps in (1, 6)]
    + [(feature, steps) for feature in ("plain", "all") for steps in (0, 3, 4, 5, 9, 11)],
)
def test_a_run_that_is_interrupted_anywhere_ends_the_same(
    new_run, images, tmp_path, feature, steps
):
    options = FEATURES[feature]
    unbroken = new_run(**options)
    expected = to_the_end(unbroken, images)
    rows = interrupted(new_run, images, tmp_path, steps, options)
    resumed = new_run(**options)
    assert resumed.resume(tmp_path)
    rows += to_the_end(resumed, images)
    assert rows == expected
    assert equal(resumed, unbroken)


OPTIMIZERS = [
    "ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "Adamax", "NAdam", "RAdam", "RMSprop",
    "Rprop", "SGD",
]  # fmt: skip


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_so_does_one_of_any_optimizer(new_run, images, tmp_path, name):
    options = {"optimizer": getattr(torch.optim, name), "lr": 0.01}
    unbroken = new_run(**options)
    to_the_end(unbroken, images)
    interrupted(new_run, images, tmp_path, 6, options)
    resumed = new_run(**options)
    resumed.resume(tmp_path)
    to_the_end(resumed, images)
    assert equal(resumed, unbroken)


@pytest.mark.parametrize("part", ["model", "optimizer", "average", "losses", "correct", "step"])
def test_control_a_resume_that_forgets_a_part_ends_elsewhere(new_run, images, tmp_path, part):
    unbroken = new_run(**FEATURES["all"])
    expected = to_the_end(unbroken, images)
    rows = interrupted(new_run, images, tmp_path, 6, FEATURES["all"])
    resumed = new_run(**FEATURES["all"])
    state = checkpoint.load(tmp_path, like=resumed.state_dict()) | {
        part: resumed.state_dict()[part]
    }
    resumed.load_state_dict(state)
    rows += to_the_end(resumed, images)
    assert rows != expected or not equal(resumed, unbroken)


@pytest.mark.parametrize("feature", sorted(FEATURES.keys() - {"plain", "decay", "adamw", "all"}))
def test_control_a_resume_without_the_feature_ends_elsewhere(new_run, images, tmp_path, feature):
    unbroken = new_run(**FEATURES[feature])
    to_the_end(unbroken, images)
    interrupted(new_run, images, tmp_path, 6, FEATURES[feature])
    resumed = new_run()
    resumed.resume(tmp_path)
    to_the_end(resumed, images)
    assert not equal(resumed, unbroken)


def test_another_seed_is_another_run(new_run, images):
    runs = [new_run(seed) for seed in (0, 0, 1)]
    for run in runs:
        to_the_end(run, images)
    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])


@pytest.mark.parametrize("seed", [0, 5, -1, -(2**63), 2**63 + 3])
def test_dropout_is_seeded_as_torch_seeds_it(new_run, seed):
    torch.manual_seed(seed)
    expected = torch.rand(3)
    new_run().seed_dropout(seed)
    assert torch.rand(3).equal(expected)


def test_every_image_is_seen_once_in_an_epoch(new_run, images):
    seen = []
    run = new_run(augment=Identity())
    train_epoch(run, images, lambda pixels: seen.append(pixels) or NORMALIZE(pixels), never)
    assert [len(batch) for batch in seen] == [8, 8, 8, 4]
    of = lambda pixels: sorted(image.numpy().tobytes() for image in pixels)  # noqa: E731
    assert of(torch.cat(seen)) == of(images.pixels)


def test_a_few_images_are_learnt_by_heart(new_run, images):
    run = new_run(epochs=150, augment=Identity())
    few = images.take(torch.arange(8))
    to_the_end(run, few)
    assert evaluate(run, few, NORMALIZE, never)["top1"] == 100


def test_evaluation_changes_nothing_and_counts_every_image(new_run, images):
    run = new_run()
    before = copy.deepcopy(run.model.state_dict())
    measured = evaluate(run, images, NORMALIZE, never)
    assert all(before[name].equal(value) for name, value in run.model.state_dict().items())
    with torch.no_grad():
        logits = run.model.eval()(NORMALIZE(images.pixels))
    right = (logits.argmax(1) == images.labels).sum().item()
    assert measured["top1"] == pytest.approx(100 * right / 28)
    assert measured["top5"] == 100  # there are only three classes
    expected = torch.nn.functional.cross_entropy(logits, images.labels).item()
    assert measured["loss"] == pytest.approx(expected)


def test_hits_are_the_best_and_the_best_five():
    logits = torch.tensor([[9.0, 8, 7, 6, 5, 4]] * 3)
    assert topk_correct(logits, torch.tensor([0, 4, 5])).tolist() == [
        [True, False, False],
        [True, True, False],
    ]


def test_accuracy_by_class():
    hit = torch.tensor([True, False, True, True])
    by_class = accuracy_by_class(hit, torch.tensor([0, 0, 1, 1]), 3)
    assert by_class[:2].tolist() == [50, 100]
    assert by_class[2].isnan()


def gradient(run, images, steps=4):
    """The gradient of one step on the first eight images, in float64."""
    run.model.double()
    pixels = NORMALIZE(images.pixels[:8]).double()
    train_step(run, pixels, images.labels[:8], steps)
    return [p.grad for p in run.model.parameters()]


@pytest.mark.parametrize("parts", [2, 3, 4])
def test_accumulated_parts_have_the_gradient_of_the_whole_batch(new_run, images, parts):
    whole, split = new_run(), new_run(accumulate=parts)
    for run in (whole, split):
        run.model[1] = run.model[3] = torch.nn.Identity()  # no batch norm, no dropout
    expected, found = gradient(whole, images), gradient(split, images)
    for a, b in zip(expected, found, strict=True):
        torch.testing.assert_close(b, a, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(split.losses, whole.losses)
    assert split.correct.equal(whole.correct)


def test_batch_norm_sees_the_parts_one_by_one(new_run, images):
    run = new_run(accumulate=4)
    sizes = []
    run.model[1].register_forward_pre_hook(lambda m, args: sizes.append(len(args[0])))
    train_epoch(run, images, NORMALIZE, never)
    assert sizes == [2, 2, 2, 2] * 3 + [2, 2]  # the last batch of 4 makes two parts of 2, none of 1


def test_clipping_limits_the_norm_of_the_gradient(new_run, images):
    free, clipped = gradient(new_run(), images), gradient(new_run(clip_norm=0.01), images)
    norm = torch.stack([g.norm() for g in free]).norm()
    assert norm > 0.1
    for a, b in zip(free, clipped, strict=True):
        torch.testing.assert_close(b, a * 0.01 / (norm + 1e-6))


def test_the_average_is_what_is_measured(new_run, images):
    run = new_run(ema=0.9)
    to_the_end(run, images)
    of_average = evaluate(run, images, NORMALIZE, never)["loss"]
    run.model.load_state_dict(run.average.model.state_dict())
    with torch.no_grad():
        logits = run.model.eval()(NORMALIZE(images.pixels))
    expected = torch.nn.functional.cross_entropy(logits, images.labels).item()
    assert of_average == pytest.approx(expected)


def test_the_average_takes_in_the_weights_after_each_update(new_run, images):
    run, updated, taken = new_run(ema=0.5), [], []
    run.optimizer.register_step_post_hook(lambda *_: updated.append(run.model[0].weight.clone()))
    run.average.update = lambda *_: taken.append(run.model[0].weight.clone())
    train_epoch(run, images, NORMALIZE, never)
    assert len(taken) == 4
    assert all(map(torch.equal, taken, updated))


def test_accuracy_loss_and_rate_of_an_epoch_are_of_this_epoch_alone(new_run, images):
    run = new_run(augment=Identity())
    logits, rows = [], []
    run.model.register_forward_hook(lambda m, args, out: logits.append(out.detach()))
    for epoch in range(3):
        logits.clear()
        rows.append(train_epoch(run, images, NORMALIZE, never))
        labels = images.labels[permutation(0, epoch, 28)]
        right = (torch.cat(logits).argmax(1) == labels).sum().item()
        assert rows[-1]["top1"] == pytest.approx(100 * right / 28)
        parts = zip(logits, labels.split(8), strict=True)
        losses = [torch.nn.functional.cross_entropy(*part).item() for part in parts]
        assert rows[-1]["loss"] == pytest.approx(sum(losses) / 4)
        assert rows[-1]["lr"] == pytest.approx(0.1 * (1 + math.cos(math.pi * epoch / 3)) / 2)
        run.next_epoch()


def test_the_average_is_told_the_step_of_the_whole_run(new_run, images):
    run, steps = new_run(), []
    run.average.update = lambda model, step: steps.append(step)
    to_the_end(run, images)
    assert steps == list(range(12))


def test_every_step_of_every_seed_mixes_in_its_own_way(new_run, images, monkeypatch):
    seeds = []
    monkeypatch.setattr(recipe, "mixed", lambda x, y, *rest: seeds.append(rest[-1]) or (x, y))
    for seed in (0, 0, 1):
        to_the_end(new_run(seed, mixup=1.0), images)
    assert seeds[:12] == seeds[12:24]
    assert len(set(seeds)) == 24


def test_mixed_images_count_by_the_class_they_have_most_of(new_run, images):
    run = new_run()
    targets = torch.tensor([[0.6, 0.4, 0.0]] * 4 + [[0.1, 0.0, 0.9]] * 4)
    logits = []
    run.model.register_forward_hook(lambda m, args, out: logits.append(out))
    train_step(run, NORMALIZE(images.pixels[:8]), targets, 4)
    dominant = torch.tensor([0] * 4 + [2] * 4)
    assert run.correct[0] == (logits[0].argmax(1) == dominant).sum()


def test_bf16_runs_the_forward_pass_in_bf16_and_learns(new_run, images):
    run = new_run(epochs=30, augment=Identity())
    run.precision = "bf16"
    dtypes = []
    run.model[0].register_forward_hook(lambda m, args, out: dtypes.append(out.dtype))
    rows = to_the_end(run, images)
    assert set(dtypes) == {torch.bfloat16}
    assert all(p.dtype is torch.float32 for p in run.model.parameters())
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]


def test_bf16_has_its_loss_in_fp32(new_run, images):
    """From the bf16 logits, in training and in evaluation."""
    run, logits, losses = new_run(), [], []
    run.precision = "bf16"
    run.model.register_forward_hook(lambda m, args, out: logits.append(out.detach()))
    next_epoch, run.next_epoch = run.next_epoch, lambda: losses.append(run.losses) or next_epoch()
    train_epoch(run, images, NORMALIZE, never)
    run.next_epoch()
    order = permutation(0, 0, 28).split(8)
    expected = [
        torch.nn.functional.cross_entropy(out.float(), images.labels[batch])
        for out, batch in zip(logits, order, strict=True)
    ]
    assert losses[0].dtype is torch.float32
    assert losses[0].equal(torch.stack(expected))
    logits.clear()
    measured, *_ = predict(run, images, NORMALIZE)
    expected = torch.nn.functional.cross_entropy(
        torch.cat(logits).float(), images.labels, reduction="none"
    )
    assert {out.dtype for out in logits} == {torch.bfloat16}
    assert measured.equal(expected)


def test_a_sparsity_without_scales_is_refused(new_run):
    with pytest.raises(ConfigError, match="no module of this network has a penalty"):
        new_run(sparsity=1e-4)


def test_an_unknown_precision_or_device_is_refused(new_run):
    run = new_run()
    with pytest.raises(
        ConfigError, match="precision=fp8: choose from fp32, strict_fp32, bf16, fp16"
    ):
        Run(run.model, run.recipe, 0, "cpu", "fp8")
    with pytest.raises(ConfigError, match="device=nonsense cannot be used"):
        prepare_device("nonsense")
    with pytest.raises(ConfigError, match="device=meta holds no numbers"):
        prepare_device("meta")


class TwoWays:
    """An epilogue that can compute a block's end in two ways."""

    def __init__(self, works):
        self.works, self.told = works, "nothing"

    def resume(self, worked):
        self.told = worked


@pytest.mark.parametrize("worked", [True, False, None])
def test_a_resumed_run_is_told_which_way_the_blocks_ends_were_computed(new_run, tmp_path, worked):
    begun, resumed = new_run(), new_run()
    begun.model[0].epilogue = TwoWays(worked)
    begun.save(tmp_path)
    resumed.model[0].epilogue = TwoWays(None)
    assert resumed.resume(tmp_path)
    assert resumed.model[0].epilogue.told is worked


def test_a_checkpoint_that_does_not_know_the_way_is_loaded(new_run, tmp_path):
    run = new_run()
    state = run.copy()
    del state["fused"]
    checkpoint.save(tmp_path, state)
    run.model[0].epilogue = TwoWays(None)
    assert run.resume(tmp_path)
    assert run.model[0].epilogue.told is None


def test_a_run_that_goes_on_with_another_number_of_threads_is_told(
    new_run, tmp_path, capsys, monkeypatch
):
    run = new_run()
    run.save(tmp_path)
    threads = torch.get_num_threads()
    assert new_run().resume(tmp_path)
    assert not capsys.readouterr().err
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads + 1)
    new_run().load_checkpoint(tmp_path)  # to measure the run: nothing is trained
    assert not capsys.readouterr().err
    assert new_run().resume(tmp_path)
    assert f"OMP_NUM_THREADS={threads}" in capsys.readouterr().err
    run.epoch = run.recipe.epochs
    run.save(tmp_path)
    assert new_run().resume(tmp_path)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("epoch", "step", "place"), [(2, 205, "at step 205 of 391 of epoch 3"), (2, 0, "after epoch 2")]
)
def test_a_signal_says_where_the_run_was_saved(new_run, tmp_path, capfd, epoch, step, place):
    run = new_run()
    run.epoch, run.step = epoch, step
    with Interruption() as interruption, Writer(tmp_path, 60) as writer:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(SystemExit, match="130"):
            pause(run, writer, interruption, 391)
        interruption.number = None
    assert f"SIGINT: saved {place}; run the same command to resume\n" in capfd.readouterr().err
    assert (tmp_path / "last.pt").exists()
