import copy

import pytest
import torch

from engine.augment import Keep
from engine.errors import Diverged, Refused
from engine.images import Normalize
from engine.loop import accuracy_by_class, evaluate, hits, train_epoch
from engine.run import Run, prepare_device

NORMALIZE = Normalize("cifar100")


def never():
    pass


class Kill(BaseException):
    pass


def after(steps):
    """A check that ends the loop in front of step number `steps`."""
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


def equal(a, b):
    a, b = a.state_dict(), b.state_dict()
    flat = lambda s: torch.cat([t.double().flatten() for t in s["model"].values()])  # noqa: E731
    momentum = lambda s: [v["momentum_buffer"] for v in s["optimizer"]["state"].values()]  # noqa: E731
    return flat(a).equal(flat(b)) and all(map(torch.equal, momentum(a), momentum(b)))


@pytest.mark.parametrize("steps", [0, 1, 4, 6, 11])
def test_a_run_that_is_interrupted_anywhere_ends_the_same(new_run, images, tmp_path, steps):
    unbroken = new_run()
    expected = to_the_end(unbroken, images)
    run, rows = new_run(), []
    with pytest.raises(Kill):
        to_the_end(run, images, after(steps), rows)
    run.save(tmp_path)
    resumed = new_run()
    assert resumed.resume(tmp_path)
    rows += to_the_end(resumed, images)
    assert rows == expected
    assert equal(resumed, unbroken)


def test_control_a_resume_that_forgets_the_momentum_ends_elsewhere(new_run, images, tmp_path):
    unbroken = new_run()
    to_the_end(unbroken, images)
    run = new_run()
    train_epoch(run, images, NORMALIZE, never)
    run.next_epoch()
    run.optimizer.state.clear()
    to_the_end(run, images)
    assert not equal(run, unbroken)


def test_another_seed_is_another_run(new_run, images):
    runs = [new_run(seed) for seed in (0, 0, 1)]
    for run in runs:
        to_the_end(run, images)
    assert equal(runs[0], runs[1])
    assert not equal(runs[0], runs[2])


def test_every_image_is_seen_once_in_an_epoch(new_run, images):
    seen = []
    run = new_run(augment=Keep())
    train_epoch(run, images, lambda pixels: seen.append(pixels) or NORMALIZE(pixels), never)
    assert [len(batch) for batch in seen] == [8, 8, 8, 4]
    of = lambda pixels: sorted(image.numpy().tobytes() for image in pixels)  # noqa: E731
    assert of(torch.cat(seen)) == of(images.pixels)


def test_a_few_images_are_learnt_by_heart(new_run, images):
    run = new_run(epochs=150, augment=Keep())
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
    assert measured["top5"] == 100  # of three classes
    expected = torch.nn.functional.cross_entropy(logits, images.labels).item()
    assert measured["loss"] == pytest.approx(expected)


def test_hits_are_the_best_and_the_best_five():
    logits = torch.tensor([[9.0, 8, 7, 6, 5, 4]] * 3)
    assert hits(logits, torch.tensor([0, 4, 5])).tolist() == [
        [True, False, False],
        [True, True, False],
    ]


def test_accuracy_by_class():
    hit = torch.tensor([True, False, True, True])
    by_class = accuracy_by_class(hit, torch.tensor([0, 0, 1, 1]), 3)
    assert by_class[:2].tolist() == [50, 100]
    assert by_class[2].isnan()


def test_a_loss_that_is_no_number_stops_the_run_and_says_where(new_run, images):
    run = new_run(lr=1e30)
    with pytest.raises(
        Diverged, match=r"the loss is (nan|inf) at step \d+ of epoch 1 \(lr [0-9.e+]+\)"
    ):
        to_the_end(run, images)


def test_bf16_runs_the_forward_pass_in_bf16_and_learns(new_run, images):
    run = new_run(epochs=2)
    run.precision = "bf16"
    dtypes = []
    run.model[0].register_forward_hook(lambda m, args, out: dtypes.append(out.dtype))
    rows = to_the_end(run, images)
    assert set(dtypes) == {torch.bfloat16}
    assert all(p.dtype is torch.float32 for p in run.model.parameters())
    assert rows[1]["loss"] < rows[0]["loss"] + 0.1


def test_a_sparsity_without_scales_is_refused(new_run):
    with pytest.raises(Refused, match="nothing it acts on"):
        new_run(sparsity=1e-4)


def test_an_unknown_precision_or_device_is_refused(new_run):
    run = new_run()
    with pytest.raises(Refused, match="precision=fp8: choose from fp32, bf16"):
        Run(run.model, run.recipe, 0, "cpu", "fp8")
    with pytest.raises(Refused, match="device=nonsense cannot be used"):
        prepare_device("nonsense")
