import pytest
import torch
from torch.optim import lr_scheduler

from engine.training.schedule import Constant, Cosine, Exponential, OneCycle, Step


def of_torch(make, steps):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make(optimizer)
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return rates


def test_step_is_torchs_multi_step():
    ours = Step([60, 120, 160], 0.2)
    expected = of_torch(lambda o: lr_scheduler.MultiStepLR(o, [60, 120, 160], 0.2), 200)
    assert [ours(epoch, 200) for epoch in range(200)] == pytest.approx(expected, rel=1e-12)


def test_exponential_is_torchs():
    expected = of_torch(lambda o: lr_scheduler.ExponentialLR(o, 0.98), 400)
    assert [Exponential(0.98)(epoch, 400) for epoch in range(400)] == pytest.approx(expected)
    assert Exponential(0.98)(3.7, 400) == Exponential(0.98)(3, 400)


def test_cosine_is_torchs_annealing():
    expected = of_torch(lambda o: lr_scheduler.CosineAnnealingLR(o, 100), 100)
    assert [Cosine()(t, 100) for t in range(100)] == pytest.approx(expected, abs=1e-12)


def test_one_cycle_is_torchs_in_the_limit_of_many_steps():
    steps = 100_000  # torch counts phases in steps from 0 to the last, we count in time
    make = lambda o: lr_scheduler.OneCycleLR(o, 1.0, total_steps=steps + 1, cycle_momentum=False)  # noqa: E731
    expected = of_torch(make, steps)
    ours = [OneCycle()(10 * t / steps, 10) for t in range(steps)]
    assert ours == pytest.approx(expected, abs=1e-4)


def test_one_cycle_rises_and_falls():
    cycle = OneCycle(rise=0.25, start=0.1, final=0.0)
    assert cycle(0, 8) == pytest.approx(0.1)
    assert cycle(2, 8) == pytest.approx(1.0)
    assert cycle(8, 8) == pytest.approx(0.0)


def test_constant_is_constant():
    assert {Constant()(t / 3, 5) for t in range(15)} == {1.0}


@pytest.mark.parametrize(
    "wrong",
    [lambda: Step([1], 0.0), lambda: Exponential(1.1), lambda: Cosine(1.0), lambda: OneCycle(-1)],
)
def test_fractions_outside_their_range_are_refused(wrong):
    with pytest.raises(ValueError, match="must be"):
        wrong()
