import copy
import json
from collections import Counter
from dataclasses import asdict, replace

import pytest
import torch

from engine.benchmark.timing import CPU_BATCH, Workload, compare, measure_interleaved
from engine.errors import ConfigError

WARM_UP = 4  # steps of training before the rounds


class Machine:
    """A clock that only steps move; `slow(name, n)` multiplies the time of training step n."""

    def __init__(self, slow=lambda name, step: 1):
        self.now, self.slow, self.trained, self.log = 0.0, slow, Counter(), []

    def __call__(self):
        return self.now

    def workload(self, name, train, infer, floats=100):
        def pass_time(seconds, kind):
            torch.ones(floats).add_(1)
            self.log.append((name, kind))
            self.now += seconds * self.slow(name, self.trained[name] - 1)

        def train_step():
            self.trained[name] += 1
            pass_time(train, "train")

        return Workload(train_step, lambda: pass_time(infer, "infer"), 10, torch.device("cpu"))

    def compare(self, **options):
        workloads = {
            "plain": self.workload("plain", 3.0, 1.0),
            "gated": self.workload("gated", 6.0, 1.5, floats=250),
        }
        return compare(workloads, "plain", clock=self, **options)


def test_ratios_speeds_and_memory():
    measured = Machine().compare(seconds=23 * 8)
    plain, gated = measured["plain"], measured["gated"]
    assert (plain.train.time_ratio, plain.infer.time_ratio, plain.memory_ratio) == (1, 1, 1)
    assert gated.train.time_ratio == pytest.approx(2)
    assert (gated.infer.time_ratio, gated.memory_ratio) == pytest.approx((1.5, 2.5))
    assert gated.train.images_per_second == pytest.approx(10 / 6)
    assert gated.infer.images_per_second == pytest.approx(10 / 1.5)
    assert plain.memory_mb == 400 / 2**20


def test_the_order_turns_round_after_each_round():
    machine = Machine()
    measured = machine.compare(seconds=35, rounds=3)
    assert (measured["plain"].rounds, measured["plain"].steps) == (3, 2)
    rounds = machine.log[2 * (WARM_UP + 2) :]
    turns = rounds[::4]
    assert [name for name, _ in turns] == ["plain", "gated", "gated", "plain", "plain", "gated"]
    assert [kind for _, kind in rounds] == ["train", "train", "infer", "infer"] * 6


@pytest.mark.parametrize(
    ("seconds", "rounds", "steps"),  # one step of each kind takes both workloads 5.75 s on average
    [(1, 3, 1), (4 * 5.75, 4, 1), (10 * 5.75, 10, 1), (29 * 5.75, 10, 2), (30 * 5.75, 10, 3)],
)
def test_rounds_fit_the_time_but_are_never_fewer_than_three(seconds, rounds, steps):
    machine = Machine()
    measured = machine.compare(seconds=seconds)["gated"]
    assert (measured.rounds, measured.steps) == (rounds, steps)
    assert machine.trained == dict.fromkeys(("plain", "gated"), WARM_UP + rounds * steps)


def test_a_machine_that_slows_down_changes_no_ratio():
    measured = Machine(lambda name, step: 2.0 ** max(0, step - WARM_UP)).compare(seconds=1)
    gated = measured["gated"].train
    assert (gated.time_ratio_min, gated.time_ratio_max) == pytest.approx((2, 2))
    assert gated.images_per_second == pytest.approx(10 / 12)  # the second of three rounds


def test_a_disturbed_round_shows_in_the_spread_not_in_the_median():
    disturbed = {("gated", WARM_UP): 5, ("plain", WARM_UP + 2): 4}
    measured = Machine(lambda name, step: disturbed.get((name, step), 1)).compare(seconds=1)
    gated = measured["gated"].train
    assert gated.time_ratio == pytest.approx(2)
    assert (gated.time_ratio_min, gated.time_ratio_max) == pytest.approx((0.5, 10))


def test_times_are_compared_by_the_image():
    machine = Machine()
    one, two = machine.workload("one", 3, 1), machine.workload("two", 6, 1)
    measured = compare({"one": one, "two": replace(two, batch_size=20)}, "one", clock=machine)
    assert measured["two"].train.time_ratio == pytest.approx(1)
    assert measured["two"].infer.images_per_second == pytest.approx(20)


@pytest.mark.parametrize("error", [RuntimeError("not enough memory"), ValueError("bad shape")])
def test_a_contestant_that_cannot_do_its_steps_is_named(error):
    def fail():
        raise error

    good = Machine().workload("plain", 1, 1)
    for bad in (Workload(fail, good.infer, 10, good.device),
                Workload(good.train, fail, 10, good.device)):  # fmt: skip
        with pytest.raises(ConfigError, match=f"^broken cannot be measured: {error}$"):
            compare({"plain": good, "broken": bad}, "plain")


def test_a_contestant_that_fails_later_is_named_as_well():
    def fail_at(name, step):
        if (name, step) == ("gated", WARM_UP):
            raise RuntimeError("gone")
        return 1

    with pytest.raises(ConfigError, match=r"^gated cannot be measured: gone$"):
        Machine(fail_at).compare()


def test_a_baseline_that_does_not_take_part_is_an_error_at_once():
    machine = Machine()
    with pytest.raises(ValueError, match="baseline=none: choose from plain"):
        compare({"plain": machine.workload("plain", 1, 1)}, "none")
    assert not machine.log


def test_runs_are_measured_and_the_result_is_json(new_run):
    workloads = {name: Workload.of(new_run(), 8, 3) for name in ("a", "b")}
    measured = compare(workloads, "a", seconds=0.01)
    records = json.loads(json.dumps({name: asdict(one) for name, one in measured.items()}))
    assert records["b"]["memory_ratio"] == records["a"]["train"]["time_ratio"] == 1
    assert records["b"]["infer"]["images_per_second"] > 0
    assert records["b"]["threads"] == torch.get_num_threads()


def test_training_trains_at_one_rate_and_inference_changes_nothing(new_run):
    run = new_run(epochs=1)
    workload = Workload.of(run, 8, 3)
    start = copy.deepcopy(run.model.state_dict())
    for _ in range(3):
        workload.train()
    trained = copy.deepcopy(run.model.state_dict())
    assert not any(trained[name].equal(start[name]) for name in start)
    assert run.optimizer.param_groups[0]["lr"] == pytest.approx(run.recipe.lr)
    workload.infer()
    assert all(trained[name].equal(value) for name, value in run.model.state_dict().items())
    assert not run.model.training
    workload.train()
    assert run.model.training


@pytest.mark.parametrize(
    ("of_recipe", "given", "used"), [(8, None, 8), (128, None, CPU_BATCH), (128, 48, 48)]
)
def test_the_batch_size_is_the_recipes_unless_a_cpu_would_take_long(
    new_run, of_recipe, given, used
):
    run = new_run(batch_size=of_recipe)
    seen = []
    run.model.register_forward_hook(lambda model, args, out: seen.append(args[0]))
    workload = Workload.of(run, 8, 3, given)
    workload.train()
    workload.infer()
    assert workload.batch_size == used
    assert [batch.shape for batch in seen] == [(used, 3, 8, 8)] * 2
    assert all(batch.is_contiguous(memory_format=torch.channels_last) for batch in seen)


def test_a_race_gives_every_time_of_every_round():
    machine = Machine(lambda name, step: 1 + step)
    found = measure_interleaved({"one": machine.workload("one", 3.0, 1.0)}, 1, clock=machine)
    assert (found.rounds, found.steps) == (3, 1)
    assert found.train["one"] == pytest.approx([0.3 * step for step in (5, 6, 7)])
    assert found.infer["one"] == pytest.approx([0.1 * step for step in (5, 6, 7)])
    assert found.memory["one"] == 400


def test_the_batch_lies_as_it_is_wanted(new_run):
    run, seen = new_run(), []
    run.model.register_forward_hook(lambda model, args, out: seen.append(args[0]))
    Workload.of(run, 8, 3, 4, torch.contiguous_format).train()
    assert seen[0].is_contiguous()
