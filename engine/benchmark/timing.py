"""Measure networks side by side: the cost of one relative to another, in time and in memory.

A machine is never as fast twice, so nothing is compared across occasions: all are timed in turns,
in one process, and only times of the same round are divided by each other.
"""

import statistics
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from tqdm import tqdm

from engine.benchmark.memory import peak_memory
from engine.complexity import image_channels
from engine.environment import device_name
from engine.errors import ConfigError, first_line
from engine.training.loop import train_step
from engine.training.run import Run

CPU_BATCH = 32  # at most, where the batch size is not given
FEWEST_ROUNDS = 3
ENDLESS = 10**9  # steps in an epoch, so that the learning rate stays where it starts

Times = dict[str, list[float]]  # of each workload, in seconds for an image, round by round


@dataclass(frozen=True)
class Workload:
    """One step of training and one of inference, each over `batch_size` images on `device`."""

    train: Callable[[], object]
    infer: Callable[[], object]
    batch_size: int
    device: torch.device

    @classmethod
    def of(
        cls,
        run: Run,
        image_size: int,
        classes: int,
        batch_size: int | None = None,
        memory_format: torch.memory_format = torch.channels_last,
    ) -> "Workload":
        """The steps of `run`, which they train, on one random batch that lies on its device.

        Training is what `train.py` does with a batch: forward pass, loss, backward pass, update.
        Inference is the forward pass. The batch size is the recipe's, but on a CPU at most 32,
        where a ResNet-50 takes seconds for a step; costs at another batch size are other costs.
        """
        if batch_size is None:
            limit = CPU_BATCH if run.device.type == "cpu" else run.recipe.batch_size
            batch_size = min(run.recipe.batch_size, limit)
        generator = torch.Generator().manual_seed(0)
        shape = (batch_size, image_channels(run.model), image_size, image_size)
        pixels = torch.randn(shape, generator=generator)
        pixels = pixels.to(run.device, memory_format=memory_format)
        labels = torch.randint(classes, (batch_size,), generator=generator).to(run.device)

        def train() -> None:
            if not run.model.training:  # checked first: `model.train()` visits every module
                run.train_mode()
            train_step(run, pixels, labels, ENDLESS)

        @torch.inference_mode()
        def infer() -> None:
            if run.model.training:
                run.model.eval()
            with run.autocast():
                run.forward(pixels)

        return cls(train, infer, batch_size, run.device)


@dataclass(frozen=True)
class Measurements:
    """Measurements of each workload, round by round; `memory` is the peak of a step, in bytes.

    Compare only times of the same round.
    """

    train: Times
    infer: Times
    memory: dict[str, int]
    rounds: int
    steps: int  # of each kind, in each round


@dataclass(frozen=True)
class Throughput:
    """Medians over the rounds, and the range of the ratio.

    The ratio is the time for an image divided by the baseline's time in the same round: 1.2 means
    20 % longer.
    """

    images_per_second: float
    time_ratio: float
    time_ratio_min: float
    time_ratio_max: float


@dataclass(frozen=True)
class Measured:
    """The cost of one workload, and how it was measured; `asdict` makes it ready for JSON."""

    train: Throughput
    infer: Throughput
    memory_mb: float  # peak of a training step, in MiB
    memory_ratio: float  # to the baseline's
    batch_size: int
    rounds: int
    steps: int  # of each kind, in each round
    device: str
    torch: str
    threads: int


def compare(
    workloads: Mapping[str, Workload],
    baseline: str,
    seconds: float = 10.0,
    rounds: int = 10,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Measured]:
    """The cost of each workload, relative to `baseline`; ValueError if there is no baseline."""
    if baseline not in workloads:
        raise ValueError(f"baseline={baseline}: choose from {', '.join(workloads)}")
    found = measure_interleaved(workloads, seconds, rounds, clock)
    memory = found.memory
    return {
        name: Measured(
            train=_speed(found.train[name], found.train[baseline]),
            infer=_speed(found.infer[name], found.infer[baseline]),
            memory_mb=memory[name] / 2**20,
            memory_ratio=memory[name] / memory[baseline],
            batch_size=workload.batch_size,
            rounds=found.rounds,
            steps=found.steps,
            device=device_name(workload.device),
            torch=torch.__version__,
            threads=torch.get_num_threads(),
        )
        for name, workload in workloads.items()
    }


def measure_interleaved(
    workloads: Mapping[str, Workload],
    seconds: float = 10.0,
    rounds: int = 10,
    clock: Callable[[], float] = time.perf_counter,
) -> Measurements:
    """Measure all of them in turns: A B C, C B A, and so on.

    Each gets about `seconds`, split into at most `rounds` of equally many steps. The number of
    rounds and steps is settled after the warm-up, for all alike, and stays: where one step takes
    long there are fewer rounds, but never fewer than three, however long these take. In the
    warm-up each does four steps of training and two of inference, which do not count.

    All workloads are in memory at once, with their gradients and optimizer states; activations
    are there for one at a time. The steps train, so make workloads for this and drop them after.
    ConfigError where a workload cannot do its steps, by its name.
    """
    memory, turn = _warm_up(workloads, clock)
    rounds = int(max(FEWEST_ROUNDS, min(rounds, seconds / turn)))
    steps = int(max(1, seconds / turn / rounds))
    train, infer = _rounds(workloads, rounds, steps, clock)
    return Measurements(train, infer, memory, rounds, steps)


def _warm_up(
    workloads: Mapping[str, Workload], clock: Callable[[], float]
) -> tuple[dict[str, int], float]:
    """Peak memory of each workload in bytes; mean seconds for one step of each kind."""
    memory, seconds = {}, []
    for name in _bar(workloads, "warming up"):
        workload = workloads[name]
        with _named(name):
            memory[name] = peak_memory(workload.train, workload.device)
            workload.train()  # what is to be compiled is compiled here
            workload.infer()
            _wait(workload.device)
            seconds.append(sum(_turn(workload, 1, clock)))
    return memory, statistics.mean(seconds)


def _rounds(
    workloads: Mapping[str, Workload], rounds: int, steps: int, clock: Callable[[], float]
) -> tuple[Times, Times]:
    """The times in training and in inference. Every second round runs backwards."""
    train: Times = {name: [] for name in workloads}
    infer: Times = {name: [] for name in workloads}
    order = list(workloads)
    turns = [name for i in range(rounds) for name in order[:: -1 if i % 2 else 1]]
    for name in _bar(turns, "measuring"):
        with _named(name):
            trained, inferred = _turn(workloads[name], steps, clock)
        images = steps * workloads[name].batch_size
        train[name].append(trained / images)
        infer[name].append(inferred / images)
    return train, infer


def _turn(workload: Workload, steps: int, clock: Callable[[], float]) -> tuple[float, float]:
    """Seconds for `steps` steps of training, and of inference."""
    start = clock()
    for _ in range(steps):
        workload.train()
    _wait(workload.device)
    middle = clock()
    for _ in range(steps):
        workload.infer()
    _wait(workload.device)
    return middle - start, clock() - middle


def _wait(device: torch.device) -> None:
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


def _speed(times: list[float], baseline: list[float]) -> Throughput:
    ratios = [own / its for own, its in zip(times, baseline, strict=True)]
    return Throughput(
        1 / statistics.median(times), statistics.median(ratios), min(ratios), max(ratios)
    )


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Add the name of the workload to an error of torch."""
    try:
        yield
    except (RuntimeError, ValueError) as error:
        raise ConfigError(f"{name} cannot be measured: {first_line(error)}") from error


def _bar(names: Iterable[str], what: str) -> Iterable[str]:
    return tqdm(names, desc=what, leave=False, disable=None, dynamic_ncols=True)
