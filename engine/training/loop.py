"""One epoch of training, one update, and one evaluation."""

import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from engine.datasets.in_memory import Images
from engine.errors import NonFiniteError
from engine.rng import fold_in, permutation
from engine.storage.checkpoint import Writer
from engine.training.graph import topk_correct
from engine.training.interruption import Interruption
from engine.training.nonfinite import Watch
from engine.training.run import Run
from engine.transforms.batch import Identity
from engine.transforms.normalize import Normalize

EVALUATION_BATCH = 250  # images on each rank
GRAPH_EVALUATION_BATCH = 1000  # images, for an evaluation by CUDA graph
LOOKS = 20  # the loss is read at least this often in an epoch
BETWEEN = 50  # steps between two looks, at most; each look waits for the device
CHECKPOINT = 1  # a request for a checkpoint; the numbers of signals are larger


def pause(
    run: Run, writer: Writer, interruption: Interruption, steps: int, in_epoch: bool = True
) -> None:
    """Between two steps: start a checkpoint if one is due; after a signal, save and exit.

    An epoch has `steps` steps.
    """
    last = run.epoch == run.recipe.epochs  # fit saves the end of the run
    due = run.ranks.rank == 0 and not last and writer.due(in_epoch)
    request = interruption.signal_or(CHECKPOINT if due else 0)
    if request == CHECKPOINT:
        run.start_saving(writer)
    elif request:
        writer.wait()
        run.save(writer.folder)
        here = f"at step {run.step} of {steps} of epoch {run.epoch + 1}"
        interruption.leave(request, here if run.step else f"after epoch {run.epoch}")


def train_epoch(
    run: Run, images: Images, normalize: Normalize, check: Callable[[], None]
) -> dict[str, float]:
    """Train the rest of the epoch of `run`; return lr, mean loss, and top1 and top5 in %.

    `check` is called between two steps, where the run can be saved. The numbers are those of the
    whole epoch and of augmented images; the class of a mixed image is the class of its larger part.
    NonFiniteError if a number is NaN or infinite.
    """
    batches = _batches(run, len(images))
    steps, remaining = len(batches), sum(map(len, batches[run.step :]))
    run.last_copy = run.last_copy or run.copy()
    run.train_mode()
    inputs = batches[run.step :] if run.graph else _inputs(run, images, normalize, batches)
    look = steps_between_looks(steps)
    started = time.perf_counter()
    with _bar(run, f"epoch {run.epoch + 1}/{run.recipe.epochs}", steps) as bar:
        for batch in inputs:
            check()
            graph_step(run, batch, steps) if run.graph else train_step(run, *batch)
            bar.update()
            if run.step % look == 0:  # the same step on all ranks
                loss = run.losses[-1].item()
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                if not math.isfinite(loss):
                    break
    run.sync_buffers()
    if run.nonfinite():
        raise _diverged(run, images, normalize)
    run.seconds += time.perf_counter() - started
    run.images += remaining
    return _epoch_summary(run, batches)


def steps_between_looks(steps: int) -> int:
    """After how many steps the loss is read, in an epoch of `steps` steps."""
    return max(1, min(steps // LOOKS, BETWEEN))


def _batches(run: Run, images: int) -> tuple[Tensor, ...]:
    """The indices of the images of each batch, in the epoch of `run`."""
    order = permutation(run.seeds.order, run.epoch, images, run.device)
    return order.split(run.recipe.batch_size)[: run.recipe.steps_per_epoch(images)]


def _inputs(
    run: Run, images: Images, normalize: Normalize, batches: tuple[Tensor, ...]
) -> Iterator[tuple[Tensor, Tensor, int, int]]:
    """The arguments of `train_step`, for each remaining step of the epoch."""
    recipe, steps, first, epoch = run.recipe, len(batches), run.step, run.epoch
    mine = map(run.ranks.shard, batches[first:])
    loaded = images.batches(mine, recipe.augmentation, run.seeds.augment, epoch)
    for step, (pixels, labels) in enumerate(loaded, first):
        seed = fold_in(run.seeds.augment, epoch * steps + step)
        mixed = recipe.mixed(normalize(pixels), labels, len(images.classes), seed)
        yield *mixed, steps, len(batches[step])


def _epoch_summary(run: Run, batches: tuple[Tensor, ...]) -> dict[str, float]:
    steps, images = len(batches), sum(map(len, batches))
    top1, top5 = (100 * run.correct.double() / images).tolist()
    lr = run.recipe.lr_at(run.epoch * steps, steps)
    row = {"lr": lr, "loss": run.losses.mean().item(), "top1": top1, "top5": top5}
    return row | ({"skipped": run.scale.skipped.item()} if run.scale.enabled else {})


def train_step(
    run: Run, pixels: Tensor, targets: Tensor, steps: int, whole: int | None = None
) -> None:
    """One update of the weights, in an epoch of `steps` updates; nothing waits for the device.

    `pixels` (N, C, H, W) and `targets`, labels (N,) or soft labels (N, classes), are this rank's
    part of a batch of `whole` images.
    """
    recipe, here = run.recipe, len(pixels)
    whole = run.ranks.gradient_images(here, whole or here)
    _begin_step(run, steps)
    run.optimizer.zero_grad(set_to_none=True)
    count = recipe.parts(min(here, whole // run.ranks.world_size))
    parts = zip(pixels.tensor_split(count), targets.tensor_split(count), strict=True)
    done = [_backward(run, *part, len(part[0]) / whole) for part in parts]
    labels = targets if targets.ndim == 1 else targets.argmax(1)
    right = topk_correct(torch.cat([logits for _, logits in done]), labels).sum(1)
    loss, right = run.ranks.all_reduce_gradients(
        run.model, sum(loss for loss, _ in done), right, here, whole
    )
    run.scale.update(run.optimizer, run.model, recipe.clip_norm)
    _end_step(run, loss, right, steps)


def graph_step(run: Run, batch: Tensor, steps: int) -> None:
    """One update by the CUDA graph of `run`, from the images with the indices `batch` (N,)."""
    _begin_step(run, steps)
    _end_step(run, *run.graph(batch), steps)


def _begin_step(run: Run, steps: int) -> None:
    step = run.epoch * steps + run.step
    run.seed_dropout(fold_in(run.seeds.augment, step) + run.ranks.rank)
    run.set_lr(run.recipe.lr_at(step, steps))


def _end_step(run: Run, loss: Tensor, right: Tensor, steps: int) -> None:
    run.average.update(run.model, run.epoch * steps + run.step)
    run.losses = torch.cat([run.losses, loss[None]])
    run.correct += right
    run.step += 1


def _backward(run: Run, pixels: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Add the gradient of one part of a batch; return its loss and logits.

    `share` is the number of images of the part divided by that of the whole batch.
    """
    with run.autocast():
        logits = run.forward(pixels)
    loss = share * run.recipe.loss(run.model, logits, targets)
    run.scale.backward(loss)
    return loss.detach(), logits.detach()


def evaluate(
    run: Run, images: Images, normalize: Normalize, check: Callable[[], None]
) -> dict[str, float]:
    """Cross-entropy loss, and top1 and top5 in %, of the network of `run` over all images."""
    losses, hit, _ = predict(run, images, normalize, check)
    return summary(losses, hit)


@torch.inference_mode()
def predict(
    run: Run, images: Images, normalize: Normalize, check: Callable[[], None] = lambda: None
) -> tuple[Tensor, Tensor, Tensor]:
    """For each image: the loss (N,), whether top-1 and top-5 are right (2, N), the guess (N,)."""
    run.eval_model.eval()
    of_image = []
    indices = torch.arange(len(images), device=run.device)
    size = GRAPH_EVALUATION_BATCH if run.eval_graph else EVALUATION_BATCH
    batches = indices.tensor_split(math.ceil(len(images) / size / run.ranks.world_size))
    mine = [run.ranks.shard(batch) for batch in batches]
    parts = images.batches(mine, Identity(), run.seeds.augment, run.epoch)
    with _bar(run, "evaluating", len(mine), 0) as bar:
        for pixels, labels in parts:
            check()
            logits = run.eval_graph(pixels) if run.eval_graph else _logits(run, normalize(pixels))
            losses = F.cross_entropy(logits.float(), labels, reduction="none")
            guesses = logits.argmax(1)[None]
            of_image.append(torch.cat([losses[None], topk_correct(logits, labels), guesses]))
            bar.update()
    found = run.ranks.all_gather(torch.cat(of_image, 1), torch.cat(mine), len(images))
    return found[0], found[1:3].bool(), found[3].long()


def _logits(run: Run, pixels: Tensor) -> Tensor:
    with run.autocast():
        return run.eval_model(pixels)


def summary(losses: Tensor, hit: Tensor) -> dict[str, float]:
    """Mean loss, and top1 and top5 in %, of the outputs of `predict`."""
    top1, top5 = (100 * hit.double().mean(1)).tolist()
    return {"loss": losses.double().mean().item(), "top1": top1, "top5": top5}


def accuracy_by_class(hit: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Accuracy of each class in %, (classes,); NaN for a class without images."""
    right = torch.bincount(labels[hit], minlength=classes)
    return 100 * right / torch.bincount(labels, minlength=classes)


def _diverged(run: Run, images: Images, normalize: Normalize) -> NonFiniteError:
    """The error that names the first tensor with NaN or infinity, and its step.

    All steps since the last copy of the state are repeated, with the same numbers, and checked.
    """
    epoch, what = run.epoch, None
    run.load_state_dict(run.last_copy)
    run.forward, run.graph = run.model, None  # hooks see the modules of the plain network
    steps = run.recipe.steps_per_epoch(len(images))
    with (
        Watch(run.model) as watch,
        _bar(run, "not finite: searching the first tensor", steps) as bar,
    ):
        while not what and run.epoch <= epoch:
            for batch in _inputs(run, images, normalize, _batches(run, len(images))):
                train_step(run, *batch)
                bar.update()
                if what := watch.first_fault(run):
                    break
            else:
                run.sync_buffers()
                if run.epoch == epoch:
                    break
                run.next_epoch()
                bar.reset()
    lr = run.recipe.lr_at(run.epoch * steps + run.step - 1, steps)
    what = what or "a loss or a weight (not so when the steps were repeated)"
    return NonFiniteError(
        f"{what} is not finite at step {run.step} of epoch {run.epoch + 1} (lr {lr:.4g}); "
        "the last checkpoint is kept; a smaller recipe.lr may help"
    )


def _bar(run: Run, what: str, total: int, initial: int | None = None) -> tqdm:
    off = run.ranks.rank > 0 or None  # None: off without a terminal
    start = run.step if initial is None else initial
    return tqdm(
        desc=what, total=total, initial=start, leave=False, disable=off, unit="batch",
        dynamic_ncols=True,
    )  # fmt: skip
