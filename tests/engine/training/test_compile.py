"""A compiled run has the files and hooks of a plain run, and resumes to the bit."""

import sys
from functools import partial

import pytest
import torch
from torch import nn
from torch._dynamo.utils import counters

from engine.benchmark.memory import peak_memory
from engine.benchmark.timing import Workload
from engine.errors import ConfigError, NonFiniteError
from engine.training import compile as module
from engine.training import run as run_module
from engine.training.compile import MODES, compiled, inductor_options
from engine.training.loop import evaluate, train_epoch
from engine.training.nonfinite import Watch
from engine.training.recipe import Recipe
from engine.training.run import Run
from engine.training.schedule import Cosine
from engine.transforms.normalize import Normalize
from tests.faults import children

NORMALIZE = Normalize("cifar100")


@pytest.fixture(scope="module", autouse=True)
def _a_compiler():
    try:
        compiled(nn.Identity(), "default", "cpu", 1)
    except ConfigError as refusal:
        pytest.skip(str(refusal))


@pytest.fixture
def new_compiled(new_run):
    """Make a compiled run of the small net."""

    def make(mode="default", **options):
        plain = new_run(**{"epochs": 2, "ema": 0.9} | options)
        return Run(plain.model, plain.recipe, 0, "cpu", "fp32", compile=mode)

    return make


class Kill(BaseException):
    pass


def train(run, images, steps=None):
    """Train to the end of the run, or for `steps` steps."""
    left = iter(range(steps if steps is not None else 10**9))

    def check():
        if next(left, None) is None:
            raise Kill

    while run.epoch < run.recipe.epochs:
        train_epoch(run, images, NORMALIZE, check)
        run.next_epoch()
    return run


def same(a, b):
    states = [run.state_dict() for run in (a, b)]
    return all(
        one.equal(other)
        for part in ("model", "average")
        for one, other in zip(*(state[part].values() for state in states), strict=True)
    )


@pytest.mark.parametrize("steps", [3, 5])  # after 3 steps, the epoch's smaller batch comes first
def test_a_run_that_is_interrupted_ends_the_same(new_compiled, images, tmp_path, steps):
    unbroken = train(new_compiled(), images)
    first = new_compiled()
    with pytest.raises(Kill):
        train(first, images, steps)
    first.save(tmp_path)
    resumed = new_compiled()
    assert resumed.resume(tmp_path)
    assert same(train(resumed, images), unbroken)


def test_it_trains_what_the_plain_run_trains_and_files_the_same_names(
    new_run, new_compiled, images
):
    options = {"epochs": 1, "lr": 0.01, "ema": 0.9}
    run, plain = new_compiled(**options), new_run(**options)
    counters.clear()
    for one in (run, plain):
        one.model[3].p = 0.0  # no dropout: compiled, it draws other random numbers
        train(one, images)
    assert counters["stats"]["unique_graphs"] == 2  # for the full batches and for the last batch
    for part in ("model", "average"):
        here, there = run.state_dict()[part], plain.state_dict()[part]
        assert here.keys() == there.keys()
        for name, tensor in here.items():
            torch.testing.assert_close(tensor, there[name])


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_computes_the_gradients_of_the_plain_network(new_run, images, mode):
    x = NORMALIZE(images.pixels[:8]).to(memory_format=torch.channels_last)
    found = []
    for wrap in (lambda net: net, partial(compiled, mode=mode, device="cpu", parts=1)):
        net = new_run().model
        net[3].p = 0.0
        wrap(net)(x).square().sum().backward()
        found.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    torch.testing.assert_close(*found)


def test_hooks_and_evaluation_are_those_of_the_plain_network(new_compiled, images):
    run = train(new_compiled(epochs=1, ema=None), images)
    counters.clear()
    with Watch(run.model) as watch:
        evaluate(run, images, lambda pixels: NORMALIZE(pixels) * float("nan"), lambda: None)
    assert watch.forward[:2] == ["the input of the network", "the output of 0 (Conv2d)"]
    assert not counters["stats"]


def test_the_first_fault_is_told_as_of_a_plain_run(new_compiled, images):
    run = new_compiled()
    with pytest.raises(NonFiniteError, match="the input of the network is not finite at step 1"):
        train_epoch(run, images, lambda pixels: NORMALIZE(pixels) * float("inf"), lambda: None)


def graphs(model, *sizes):
    """The number of graphs that are compiled for batches of these sizes."""
    counters.clear()
    for size in sizes:
        model(torch.zeros(size, 2))
    return counters["stats"]["unique_graphs"]


def test_many_sizes_and_networks_are_compiled_in_one_process():
    assert graphs(compiled(nn.ReLU(), "default", "cpu", 1), *range(1, 11)) == 10


def test_what_a_sweep_compiled_before_does_not_count(monkeypatch):
    monkeypatch.setattr(module, "TOGETHER", 2)
    with torch._dynamo.config.patch(recompile_limit=2):
        for _ in range(3):
            assert graphs(compiled(nn.ReLU(), "default", "cpu", 1), 1, 2) == 2


@pytest.mark.parametrize(
    ("mode", "parts", "message"),
    [
        ("fast", 1, "compile=fast: choose from default, reduce-overhead, max-autotune, null"),
        ("reduce-overhead", 2, "take compile=default, or recipe.accumulate=1"),
        ("max-autotune", 2, "take compile=default, or recipe.accumulate=1"),
    ],
)
def test_what_cannot_be_is_refused(mode, parts, message):
    with pytest.raises(ConfigError, match=message):
        compiled(nn.Identity(), mode, "cpu", parts)


def test_a_batch_in_parts_is_compiled_without_graphs(new_compiled, images):
    train(new_compiled(epochs=1, accumulate=2), images)


def test_without_a_compiler_it_is_refused_in_one_line(tmp_path):
    words = (*children.SMALL, "compile=default")
    assert children.train(tmp_path, *words, before=break_compiler) == 2
    (line,) = children.said(tmp_path).splitlines()
    assert "compile=default: nothing can be compiled here: InvalidCxxCompiler: No working" in line
    assert not [*tmp_path.rglob("config.yaml")]


def break_compiler():
    torch._inductor.config.cpp.cxx = (None, "/bin/false")


def test_who_does_not_ask_for_it_does_not_wait_for_it():
    assert "torch._inductor.compile_fx" in sys.modules  # this process has compiled
    assert children.fork(plain_step) == 0


def plain_step():
    options = {"optimizer": torch.optim.SGD, "schedule": Cosine(), "batch_size": 2}
    run = Run(nn.Linear(1, 1), Recipe(epochs=1, lr=0.1, **options), 0, "cpu", "fp32")
    run.optimizer.step()
    sys.exit("torch._inductor.compile_fx" in sys.modules)


def test_its_memory_is_counted_as_that_of_the_plain_network(new_run, new_compiled):
    counted = []
    for run in (new_run(ema=0.9), new_compiled()):
        workload = Workload.of(run, image_size=8, classes=3, batch_size=4)
        counted.append(peak_memory(workload.train, workload.device))
        workload.train()
        workload.infer()
    assert counted[0] == counted[1]


class Block(nn.Module):
    """A block whose epilogue asks for options only with attention and on CUDA."""

    class Epilogue:
        def inductor_options(self, attention, device):
            wanted = isinstance(attention, nn.ReLU) and device.startswith("cuda")
            return {"realize_reads_threshold": 7} if wanted else {}

    def __init__(self, attention):
        super().__init__()
        self.branch, self.epilogue = attention, self.Epilogue()


def test_the_compiler_gets_the_options_that_the_epilogues_need(monkeypatch):
    net = nn.Sequential(Block(nn.Identity()), Block(nn.ReLU()))
    assert inductor_options(net, "cuda:0") == {"realize_reads_threshold": 7}
    assert inductor_options(net[:1], "cuda:0") == inductor_options(net, "cpu") == {}
    assert inductor_options(nn.ReLU(), "cuda:0") == {}
    given = []
    monkeypatch.setattr(torch, "compile", lambda f, **options: given.append(options) or f)
    compiled(net, "default", "cpu", 1, extra={"realize_reads_threshold": 7})
    assert given[-1]["options"]["realize_reads_threshold"] == 7


def test_a_run_compiles_with_the_options_of_its_epilogues(new_run, monkeypatch):
    plain, given = new_run(), []
    monkeypatch.setattr(run_module, "inductor_options", lambda *_: {"realize_reads_threshold": 7})
    monkeypatch.setattr(run_module, "compiled", lambda f, *_, extra: given.append(extra) or f)
    Run(plain.model, plain.recipe, 0, "cpu", "fp32", compile="default")
    assert given == [{"realize_reads_threshold": 7}]
