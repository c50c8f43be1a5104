"""The error names exactly the place of the first number that is not finite."""

import pytest
import torch
from torch import nn

from engine.errors import NonFiniteError
from engine.training.loop import train_epoch
from engine.training.nonfinite import Watch
from engine.transforms.batch import Identity
from engine.transforms.normalize import Normalize

NORMALIZE = Normalize("cifar100")


class Fault(nn.Module):
    """The identity, with one fault in call number `at`."""

    def __init__(self, what, at):
        super().__init__()
        self.what, self.at = what, at
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("statistic", torch.zeros(()))
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        wrong = float("nan") if self.calls == self.at else 0.0
        if self.what == "output":
            return x + wrong
        if self.what == "statistic":
            self.statistic += wrong
        if self.what == "gradient" and self.calls == self.at:
            return x + 0 * (x - x.detach()).abs().sqrt()  # finite; its slope at 0 is not
        if self.what == "weight" and self.calls == self.at:
            return x + 1e30 * (1e30 * self.weight)  # only the gradient of this weight is not finite
        return x


def never():
    pass


def diverging(run, images, normalize=NORMALIZE):
    with pytest.raises(NonFiniteError) as caught:
        train_epoch(run, images, normalize, never)
    return str(caught.value)


@pytest.mark.parametrize("at", [1, 3, 4])
@pytest.mark.parametrize(
    ("what", "told"),
    [
        ("output", "the output of 2 (Fault) is not finite"),
        ("gradient", "the gradient at the output of 1 (BatchNorm2d) is not finite"),
        ("statistic", "2.statistic is not finite"),
        ("weight", "2.weight is not finite"),
    ],
)
def test_the_first_thing_that_is_not_finite_is_told(new_run, images, what, told, at):
    run = new_run()
    fault = Fault(what, at)
    run.model.insert(2, fault)
    run.optimizer.add_param_group({"params": [fault.weight]})
    message = diverging(run, images)
    assert message.startswith(f"{told} at step {at} of epoch 1 (lr ")
    assert "\n" not in message


def test_a_loss_that_is_not_finite_ends_the_epoch_at_the_next_look(new_run, images):
    run, steps = new_run(), []
    run.model.insert(2, Fault("output", at=1))
    with pytest.raises(NonFiniteError):
        train_epoch(run, images, NORMALIZE, lambda: steps.append(run.step))
    assert steps == [0], "four steps are in the epoch, and the loss of each is looked at"


def test_an_input_that_is_not_finite_is_told(new_run, images):
    def normalize(pixels):
        normalized = NORMALIZE(pixels)
        return normalized / (pixels != images.pixels[20]).flatten(1).any(1)[:, None, None, None]

    message = diverging(new_run(augment=Identity()), images, normalize)
    assert message.startswith("the input of the network is not finite at step ")


def test_a_rate_that_is_too_high_is_told(new_run, images):
    message = diverging(new_run(lr=1e30), images)
    assert message.startswith(
        "the output of 6 (Linear) is not finite at step 2 of epoch 1 (lr 9.83e+29)"
    )


def test_what_does_not_come_again_is_told_as_such(new_run, images):
    run = new_run()
    once = iter([False, True])
    run.model.register_forward_hook(lambda m, args, out: out / 0 if next(once, False) else None)
    assert "not so when the steps were repeated" in diverging(run, images)


def test_what_is_not_finite_is_not_saved(new_run, images, tmp_path):
    run = new_run(ema=0.9)
    run.save(tmp_path)
    kept = (tmp_path / "last.pt").read_bytes()
    train_epoch(run, images, NORMALIZE, never)
    run.average.model[1].running_var[2] = float("inf")
    with pytest.raises(
        NonFiniteError, match=r"^average.1.running_var is not finite 4 steps into epoch 1"
    ):
        run.save(tmp_path)
    assert (tmp_path / "last.pt").read_bytes() == kept
    assert not (tmp_path / "previous.pt").exists()


def test_watching_changes_nothing_and_leaves_nothing(new_run, images):
    watched, free = new_run(), new_run()
    with Watch(watched.model) as watch:
        train_epoch(watched, images, NORMALIZE, never)
    train_epoch(free, images, NORMALIZE, never)
    assert not watch.forward
    assert not watch.backward
    assert all(map(torch.equal, watched.model.parameters(), free.model.parameters()))
    hooks = [(*m._forward_hooks, *m._forward_pre_hooks) for m in watched.model.modules()]
    assert not any(hooks)
