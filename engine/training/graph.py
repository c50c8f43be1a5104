"""The step of training as one CUDA graph: captured once, then replayed by a single launch.

A step of a ResNet-20 launches some 700 kernels. The host needs more time to launch the kernels than
the device needs to run them. A graph reads only tensors at fixed addresses: the indices of the
batch, the key of the epoch and the learning rate are copied there before each replay, and nothing
is read back.
"""

import sys
from collections.abc import Callable

import torch
from torch import Tensor
from tqdm import tqdm

from engine.datasets.in_memory import Images
from engine.rng import fold_in, uniform_from
from engine.training.compile import compiled, inductor_options
from engine.training.optimizer import is_fused
from engine.training.run import Run
from engine.transforms.normalize import Normalize

WARM_UP = 3  # steps before a capture; libraries and the compiler allocate memory in these steps


def use_graphs(run: Run, images: dict[str, Images], normalize: Normalize, wanted: bool) -> None:
    """Make `run` train and evaluate by CUDA graphs, or print one line with the reason against."""
    if not wanted or run.device.type != "cuda":
        return
    if reason := why_no_graph(run, images["train"]):
        tqdm.write(f"graph=true has no effect: {reason}", file=sys.stderr)
        return
    run.graph = StepGraph(run, images["train"], normalize)
    run.eval_graph = EvaluationGraph(run, normalize)


def why_no_graph(run: Run, images: Images) -> str | None:
    """The reason why the step of `run` cannot be one CUDA graph; None if it can."""
    recipe = run.recipe
    reasons = {
        "the images are not in memory": not isinstance(images, Images),
        "the run has several ranks": run.ranks.world_size > 1,
        "recipe.mixup and recipe.cutmix draw on the host": recipe.mixup or recipe.cutmix,
        "recipe.randaugment was not tried in a graph": recipe.randaugment,
        "recipe.accumulate splits the batch": recipe.accumulate > 1,
        f"{type(run.optimizer).__name__} has no fused update": not is_fused(run.optimizer),
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


class StepGraph:
    """`graph(batch)` is one update of `run` from the images with the indices `batch` (N,)."""

    def __init__(self, run: Run, images: Images, normalize: Normalize) -> None:
        self.run, self.images = run, images
        self.normalize = normalize.on(images.pixels.shape[2], run.device)
        self.augment = run.recipe.augmentation
        self.key = torch.zeros((), dtype=torch.int64, device=run.device)  # the key of the epoch
        self.epoch = -1
        self.front: Callable[..., tuple[Tensor, Tensor]] = self.forward
        if run.compile is not None:
            device = str(run.device)
            extra = inductor_options(run.model, device)
            self.front = compiled(self.forward, run.compile, device, 1, graphs=False, extra=extra)
        self.captured: dict[int, _Captured] = {}  # batch size -> graph

    def __call__(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """The loss and the numbers of top-1 and top-5 hits (2,); valid until the next call."""
        if self.epoch != self.run.epoch:
            self.epoch = self.run.epoch
            self.key.fill_(fold_in(self.run.seeds.augment, self.epoch))
        size = len(batch)
        if size not in self.captured:
            self.captured[size] = _Captured(self.body, batch)
        return self.captured[size](batch)

    def body(self, batch: Tensor) -> tuple[Tensor, Tensor]:
        """The content of the graph: images, forward pass, loss, backward pass, update."""
        run = self.run
        run.optimizer.zero_grad(set_to_none=True)
        loss, right = self.front(self.images.pixels, self.images.labels, batch, self.key)
        run.scale.backward(loss)
        run.scale.update(run.optimizer, run.model, run.recipe.clip_norm)
        return loss.detach(), right

    def forward(
        self, pixels: Tensor, labels: Tensor, batch: Tensor, key: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Loss and numbers of hits (2,) of the images with the indices `batch`."""
        draws = uniform_from(batch + key, self.augment.draws)
        chosen, targets = pixels.index_select(0, batch), labels.index_select(0, batch)
        x = self.normalize(self.augment(chosen, draws))
        with torch.autocast("cuda", self.run.dtype, enabled=self.run.dtype is not torch.float32):
            logits = self.run.model(x)
        loss = self.run.recipe.loss(self.run.model, logits, targets)
        return loss, topk_correct(logits.detach(), targets).sum(1)


class EvaluationGraph:
    """`graph(pixels)` are the logits of the evaluated network; valid until the next call."""

    def __init__(self, run: Run, normalize: Normalize) -> None:
        self.run, self.normalize = run, normalize
        self.captured: dict[int, _Captured] = {}

    def __call__(self, pixels: Tensor) -> Tensor:
        size = len(pixels)
        if size not in self.captured:
            self.captured[size] = _Captured(self.body, pixels)
        return self.captured[size](pixels)

    def body(self, pixels: Tensor) -> Tensor:
        with self.run.autocast():
            return self.run.eval_model(self.normalize(pixels))


class _Captured:
    """`body(x)`: run WARM_UP times, then captured for inputs of the shape of `x`."""

    def __init__(self, body: Callable, x: Tensor) -> None:
        self.body = body
        self.input = x.clone()
        self.calls = 0
        self.stream = torch.cuda.Stream()
        self.graph: torch.cuda.CUDAGraph | None = None

    def __call__(self, x: Tensor) -> object:
        self.input.copy_(x)
        if self.graph is None and self.calls < WARM_UP:
            self.calls += 1
            return self._on_side_stream()
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            # The thread that writes checkpoints may allocate at the same time.
            with torch.cuda.graph(self.graph, capture_error_mode="thread_local"):
                self.output = self.body(self.input)
        self.graph.replay()
        return self.output

    def _on_side_stream(self) -> object:
        """Libraries initialize a stream on first use, which must happen before the capture."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            output = self.body(self.input)
        torch.cuda.current_stream().wait_stream(self.stream)
        return output


def topk_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """(2, N) bool: the label is the best guess; the label is among the best five guesses."""
    guesses = logits.topk(min(5, logits.shape[1])).indices
    right = guesses == labels[:, None]
    return torch.stack([right[:, 0], right.any(1)])
