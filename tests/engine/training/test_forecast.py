"""The forecast is said once, from warm steps, and changes nothing."""

from types import SimpleNamespace

import pytest
import torch

from engine.training import forecast
from engine.training.forecast import Forecast, duration


class Clock:
    """A clock that the steps move on."""

    now = 0.0

    def perf_counter(self):
        return self.now


def said(monkeypatch, times, epochs=20, steps=100, device="cpu", begin=(0, 0), evaluated=0.0):
    """The lines of a run whose step i takes `times(i)` seconds, each with the steps before it."""
    clock, lines = Clock(), []
    monkeypatch.setattr(forecast, "time", clock)
    run = SimpleNamespace(epoch=begin[0], step=begin[1], device=torch.device(device))
    run.recipe = SimpleNamespace(epochs=epochs)
    checks = []
    check = Forecast(
        lambda: checks.append(1), run, steps, 5, evaluated, lambda line: lines.append((taken, line))
    )
    taken = 0
    while run.epoch < epochs:
        while run.step < steps:
            check()
            clock.now += times(taken)
            run.step, taken = run.step + 1, taken + 1
        run.epoch, run.step = run.epoch + 1, 0
    assert len(checks) == taken
    return lines


def test_it_is_said_once_without_the_slow_first_steps(monkeypatch):
    lines = said(monkeypatch, lambda step: 60.0 if step < 3 else 0.5)
    assert lines == [(11, "about 17 min for 20 epochs on cpu")]  # 1989 steps of half a second


def test_on_a_gpu_the_clock_is_read_where_the_loss_was_read(monkeypatch):
    lines = said(monkeypatch, lambda step: 2.5 if step % 5 == 4 else 0.0, device="cuda")
    assert lines == [(15, "about 17 min for 20 epochs on cuda")]


def test_a_resumed_run_forecasts_what_is_left(monkeypatch):
    lines = said(monkeypatch, lambda step: 0.5, begin=(14, 50))
    assert lines == [(11, "about 4 min for the other 6 of 20 epochs on cpu")]


def test_evaluation_counts(monkeypatch):
    lines = said(monkeypatch, lambda step: 0.5, evaluated=3.0)
    assert lines == [(11, "about 33 min for 20 epochs on cpu")]


@pytest.mark.parametrize(("seconds", "epochs", "steps"), [(0.009, 20, 100), (0.5, 1, 40)])
def test_a_short_run_is_not_forecast(monkeypatch, seconds, epochs, steps):
    assert said(monkeypatch, lambda step: seconds, epochs, steps) == []


def test_epochs_of_few_steps_are_forecast_as_well(monkeypatch):
    lines = said(monkeypatch, lambda step: 0.5, steps=4)
    assert lines == [(11, "about 34 s for the other 18 of 20 epochs on cpu")]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(40.4, "40 s"), (95, "2 min"), (720, "12 min"), (12000, "3 h 20 min"), (2e5, "2 days 7 h")],
)
def test_a_duration_in_words(seconds, words):
    assert duration(seconds) == words
