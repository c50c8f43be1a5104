"""A step of training reads nothing from its device and copies nothing to it.

The device is torch's "meta", whose tensors have no numbers: an operation that needs one is refused,
as is one that joins two devices. So no GPU is needed; tests/gpu/test_host_reads.py asks CUDA.
"""

from contextlib import contextmanager, nullcontext
from dataclasses import replace

import pytest
import torch
from hydra import compose, initialize_config_dir
from torch import Tag, Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from engine.datasets.in_memory import Images
from engine.training import graph, loop
from engine.training.graph import StepGraph
from engine.training.loop import EVALUATION_BATCH, evaluate, graph_step, train_epoch, train_step
from engine.training.loss_scale import LossScale
from engine.training.run import Run
from engine.transforms.batch import CropFlip
from engine.transforms.crop import Crop
from engine.transforms.normalize import Normalize
from scripts.cli.compose import build
from scripts.cli.overrides import CONF

NORMALIZE = Normalize("cifar100")
FEWER = 5
READS = {Tag.data_dependent_output, Tag.dynamic_output_shape}
COPIES = (torch.tensor, torch.as_tensor, torch.asarray, Tensor.new_tensor)
INDEXING = (Tensor.__getitem__, Tensor.__setitem__)


# Operations without a deterministic kernel on CUDA, from torch.use_deterministic_algorithms.
VARYING = {
    *("_adaptive_avg_pool2d_backward", "adaptive_max_pool2d_backward", "nll_loss2d_forward"),
    *("upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward"),
    *("reflection_pad1d_backward", "reflection_pad2d_backward", "grid_sampler_2d_backward"),
    *("fractional_max_pool2d_backward", "max_unpool2d", "put", "put_", "histc", "median"),
}


class _Operations(TorchDispatchMode):
    """Refuse an operation that reads numbers of the device, or that joins two devices."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given, name = _tensors((args, kwargs)), func.overloadpacket.__name__
        self.names.add(name)
        masked = any(tensor.dtype in (torch.bool, torch.uint8) for tensor in given[1:])
        reads = READS & {*func.tags} and (masked or name != "index")
        if reads and any(tensor.is_meta for tensor in given):
            raise AssertionError(f"{name} waits for the device")
        result = func(*args, **(kwargs or {}))
        if name not in ("_to_copy", "copy_"):  # other operations take one number of the host
            given = [tensor for tensor in given if tensor.dim()]
        if len({tensor.device for tensor in given + _tensors(result)}) > 1:
            raise AssertionError(f"{name} joins two devices")
        return result


class _Calls(TorchFunctionMode):
    """Refuse a call that fills a tensor of the device with numbers of the host."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        copies = func in COPIES or (func in INDEXING and isinstance(args[1], list))
        if copies and any(tensor.is_meta for tensor in _tensors((args[:1], result))):
            raise AssertionError(f"{func.__name__} copies from the host")
        return result


def _tensors(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]


@contextmanager
def no_host_reads():
    """AssertionError for an operation that would make the host wait for a GPU."""
    with _Operations() as operations, _Calls():
        yield operations


WAITING = {
    "item": lambda x: x.sum().item(),
    "float": lambda x: float(x[0]),
    "bool": lambda x: x.isfinite().all() and 1,
    "comparison": lambda x: max(x[0], x[1]),
    "membership": lambda x: 3 in x,
    "place in a list": lambda x: "abc"[x.argmax()],
    "tolist": lambda x: x.tolist(),
    "cpu": lambda x: x.cpu(),
    "into host memory": lambda x: torch.zeros(3).copy_(x),
    "from host memory": lambda x: torch.zeros(3).to("meta"),
    "tensor": lambda x: torch.tensor([1.0], device="meta"),
    "new_tensor": lambda x: x.new_tensor([1.0]),
    "places": lambda x: x[[0, 1]],
    "mask": lambda x: x[x > 0],
    "nonzero": lambda x: x.nonzero(),
    "where": lambda x: torch.where(x > 0),
    "unique": lambda x: x.unique(),
    "bincount": lambda x: x.long().bincount(),
    "equal": lambda x: torch.equal(x, x),
}


@pytest.mark.parametrize("read", WAITING.values(), ids=WAITING)
def test_control_each_way_to_read_or_copy_is_noticed(read):
    refusals = (AssertionError, NotImplementedError)  # torch copies no number out of meta
    with no_host_reads(), pytest.raises(refusals, match=r"waits|joins|copies|Cannot copy out"):
        read(torch.zeros(3, device="meta"))


def test_control_what_stays_on_the_device_is_allowed():
    with no_host_reads():
        x = torch.zeros(3, device="meta")
        x[x.argsort()] = 2 * x[:1] + torch.tensor(2.0)
        assert torch.where(x > 0, x, 0.0).to(torch.float64).device.type == "meta"


@pytest.fixture(autouse=True)
def _no_autocast(monkeypatch):
    """Autocast has no meta device."""
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: nullcontext())


@pytest.fixture(scope="module", autouse=True)
def _hydra():
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def meta_run(*overrides, recipe=None):
    """The run of train.py with these options, on the meta device."""
    cfg = compose("train", ["model=resnet8", *overrides])
    with torch.device("meta"):
        model = build(cfg.model)
    return Run(model, recipe or build(cfg.recipe), 0, "meta", "fp32")


def meta_images(count, size=32):
    pixels = torch.zeros(count, size, size, 3, dtype=torch.uint8, device="meta")
    labels = torch.zeros(count, dtype=torch.int64, device="meta")
    return Images(pixels, labels, tuple(map(str, range(100))))


def batch(size=4):
    return torch.zeros(size, 3, 32, 32, device="meta"), meta_images(size).labels


ATTENTIONS = sorted(file.stem for file in (CONF / "attn").glob("*.yaml"))


@pytest.mark.parametrize("name", ATTENTIONS)
def test_a_step_with_each_attention_reads_nothing(name):
    model = "resnet50" if name == "shuffle" else "resnet18"  # whose channels it cannot group
    run = meta_run(f"model={model}", f"attn={name}")
    with no_host_reads() as operations:
        train_step(run, *batch(), 10)
    assert "convolution_backward" in operations.names
    assert not VARYING & operations.names  # docs/speed.md says so
    state = [*run.model.state_dict().values(), *(p.grad for p in run.model.parameters())]
    assert {tensor.device.type for tensor in state} == {"meta"}


OPTIONS = {
    "mixup": {"mixup": 0.2},
    "cutmix": {"cutmix": 1.0},
    "mixup and cutmix": {"mixup": 0.2, "cutmix": 1.0},
    "label smoothing": {"label_smoothing": 0.1},
    "accumulate": {"accumulate": 3},
    "clip": {"clip_norm": 1.0},
    "ema": {"ema": 0.99},
    "all": {"mixup": 0.2, "accumulate": 2, "clip_norm": 1.0, "ema": 0.99, "label_smoothing": 0.1},
}


@pytest.fixture
def reads(monkeypatch):
    """The reads of the device in the two ways of the loop; the answers are ones."""
    asked = []
    for plain in (Tensor.item, Tensor.tolist):

        def answer(tensor, plain=plain):
            if not tensor.is_meta:
                return plain(tensor)
            asked.append(plain.__name__)
            return torch.ones(tensor.shape).numpy().tolist()

        monkeypatch.setattr(Tensor, plain.__name__, answer)
    return asked


def epoch(run, steps):
    """Train an epoch of `steps` steps, the last of fewer images; no copy of the state is due."""
    run.last_copy = {"model": {}}
    size = run.recipe.batch_size
    train_epoch(run, meta_images(size * (steps - 1) + size // 2), NORMALIZE, lambda: None)


@pytest.fixture
def _fewer_looks(monkeypatch):
    """Looks at the loss in an epoch, which is shorter then."""
    monkeypatch.setattr(loop, "LOOKS", FEWER)


def check_epoch(recipe, reads):
    """An epoch looks at the loss every second step here, and reads three times at its end.

    The first steps copy constants to the device, and the constants stay there.
    """
    with torch.device("meta"):
        layers = nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        model = nn.Sequential(*layers, nn.Dropout(), nn.Linear(8, 100))
    run = Run(model, recipe, 0, "meta", "fp32")
    epoch(run, 2)
    run.next_epoch()
    reads.clear()
    with no_host_reads():
        epoch(run, 2 * FEWER + 1)
    assert reads == ["item"] * FEWER + ["tolist", "tolist", "item"]


def read_recipe(name, **options):
    recipe = build(compose("train", [f"recipe={name}"]).recipe)
    if isinstance(recipe.augment, Crop):  # which acts while images are read
        recipe = replace(recipe, augment=CropFlip())
    return replace(recipe, batch_size=24, **options)


@pytest.mark.usefixtures("_fewer_looks")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_an_epoch_reads_the_loss_at_each_look_and_nothing_else(reads, options):
    check_epoch(read_recipe("cifar_200ep", **options), reads)


@pytest.mark.usefixtures("_fewer_looks")
@pytest.mark.parametrize("name", ["cifar_adamw", "cifar_short", "imagenet_a3"])
def test_an_epoch_of_a_recipe_reads_the_loss_at_each_look_and_nothing_else(reads, name):
    check_epoch(read_recipe(name), reads)


def test_looks_are_never_further_apart_than_a_number_of_steps(reads, monkeypatch):
    monkeypatch.setattr(loop, "LOOKS", 1)
    monkeypatch.setattr(loop, "BETWEEN", 5)
    run = meta_run(recipe=read_recipe("cifar_200ep"))
    done = torch.zeros((), device="meta"), torch.zeros(2, dtype=torch.int64, device="meta")
    run.graph = lambda batch: done
    epoch(run, 20)
    assert reads == ["item"] * 4 + ["tolist", "tolist", "item"]


def test_an_evaluation_reads_its_result_alone(reads):
    run = meta_run()
    images = meta_images(3 * EVALUATION_BATCH)
    evaluate(run, images, NORMALIZE, lambda: None)
    reads.clear()
    with no_host_reads():
        evaluate(run, images, NORMALIZE, lambda: None)
    assert reads == ["tolist", "item"]


class Fused(torch.optim.SGD):
    """Stands for torch's fused optimizers: the kernel gets the scale and what has overflowed."""

    _step_supports_amp_scaling = True

    def step(self, closure=None):
        assert self.grad_scale.is_meta
        assert self.found_inf.is_meta


def test_a_step_with_a_loss_scale_reads_nothing():
    run = meta_run(recipe=read_recipe("cifar_200ep", optimizer=Fused))
    run.scale = LossScale(run.device, enabled=True)
    train_step(run, *batch(), 10)
    with no_host_reads():
        train_step(run, *batch(), 10)
        run.next_epoch()


@pytest.mark.parametrize("options", [{}, {"clip_norm": 1.0, "label_smoothing": 0.1, "ema": 0.9}])
def test_a_step_that_becomes_a_cuda_graph_reads_nothing(monkeypatch, options):
    monkeypatch.setattr(graph, "_Captured", lambda body, x: body)
    run = meta_run(recipe=replace(meta_run().recipe, **options))
    run.graph = StepGraph(run, meta_images(32), NORMALIZE)
    chosen = torch.arange(4, device="meta")
    with no_host_reads():
        graph_step(run, chosen, 10)
    assert run.losses.is_meta
    assert run.correct.is_meta
