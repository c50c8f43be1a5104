"""The step on a GPU: as a CUDA graph, compiled, in each precision, without a wait for the host."""

import math

import pytest
import torch

from engine.training.compile import MODES
from engine.training.loop import evaluate, train_step
from engine.transforms.normalize import Normalize
from scripts.cli.overrides import CONF

pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("ignore")]  # of the compiler
ATTENTIONS = sorted(file.stem for file in (CONF / "attn").glob("*.yaml"))
FITTING = [name for name in ATTENTIONS if name not in ("ema", "psa", "shuffle")]  # for 16 channels
NORMALIZE = Normalize("cifar100")


@pytest.fixture
def _no_wait():
    """An error for every operation that waits for the device."""
    yield
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.usefixtures("_no_wait")
@pytest.mark.parametrize("attn", FITTING)
def test_no_step_waits_for_the_device(new_run, attn):
    run = new_run(attn, "bf16", ema=0.9, clip_norm=1.0)
    x = torch.randn(4, 3, 32, 32, device="cuda").to(memory_format=torch.channels_last)
    labels = torch.zeros(4, dtype=torch.int64, device="cuda")
    train_step(run, x, labels, 10)
    torch.cuda.set_sync_debug_mode("error")
    train_step(run, x, labels, 10)


@pytest.mark.usefixtures("_no_wait")
def test_control_a_read_is_an_error():
    x = torch.zeros((), device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    with pytest.raises(RuntimeError, match="synchroniz"):
        x.item()


@pytest.mark.parametrize("attn", ["none", "nam", "cbam", "dia"])
@pytest.mark.parametrize("options", [{}, {"ema": 0.9, "label_smoothing": 0.1, "clip_norm": 1.0}])
def test_steps_by_graph_are_the_steps_one_by_one(new_run, train, images, attn, options):
    plain, graph = new_run(attn, **options), new_run(attn, graph=True, **options)
    assert graph.graph is not None
    assert train(graph) == pytest.approx(train(plain), rel=1e-4)
    rows = [evaluate(run, images, NORMALIZE, lambda: None) for run in (graph, plain)]
    assert rows[0] == pytest.approx(rows[1], rel=1e-3, abs=1)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("graph", [False, True])
def test_each_precision_begins_like_strict_fp32(new_run, train, precision, graph):
    exact, rounded = (train(new_run("nam", kind, graph), 3) for kind in ("strict_fp32", precision))
    assert rounded[0] == pytest.approx(exact[0], rel=0.02)
    assert all(map(math.isfinite, rounded))


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_each_mode_of_the_compiler_begins_like_the_plain_network(new_run, train, mode, graph):
    plain, compiled = (train(new_run("nam", graph=graph, compile=kind), 5) for kind in (None, mode))
    assert compiled == pytest.approx(plain, rel=0.01)


def test_an_overflow_in_fp16_skips_the_step_and_is_counted(new_run):
    run = new_run(precision="fp16")
    before = [p.detach().clone() for p in run.model.parameters()]
    x = torch.full((4, 3, 32, 32), math.inf, device="cuda")
    train_step(run, x, torch.zeros(4, dtype=torch.int64, device="cuda"), 10)
    assert run.scale.skipped.item() == 1
    assert all(p.equal(old) for p, old in zip(run.model.parameters(), before, strict=True))
