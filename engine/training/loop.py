"""The two passes over the images: one that trains, one that measures."""

import math
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from engine.datasets.in_memory import Images
from engine.errors import NonFiniteError
from engine.rng import fold_in, permutation
from engine.training.nonfinite import first_fault
from engine.training.run import Run
from engine.transforms.batch import Identity
from engine.transforms.normalize import Normalize

EVALUATION_BATCH = 250  # images, on each rank
LOOKS = 20  # at the loss, in an epoch, and at least
BETWEEN = 50  # every so many steps: each look waits for the device


def train_epoch(
    run: Run, images: Images, normalize: Normalize, check: Callable[[], None]
) -> dict[str, float]:
    """What is left of the epoch `run` is in; lr, mean loss, top1 and top5 (%) over all of it.

    `check` is called between two steps, where the run can be saved and left. The accuracy is that
    on the images as they were trained on: augmented, and a mix of two by what it has most of.
    """
    recipe, batches = run.recipe, _batches(run, len(images))
    steps, remaining = len(batches), sum(map(len, batches[run.step :]))
    start = run.snapshot()
    updates = partial(_updates, run, images, batches, normalize, check)
    started = time.perf_counter()
    with tqdm(
        total=steps, initial=run.step, **_bar(run, f"epoch {run.epoch + 1}/{recipe.epochs}")
    ) as bar:
        for _ in updates():
            bar.update()
            if run.step % max(1, min(steps // LOOKS, BETWEEN)) == 0:  # at the same on all ranks
                loss = run.losses[-1].item()
                bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
                if not math.isfinite(loss):
                    break
    run.sync_buffers()
    if run.nonfinite():
        raise _diverged(run, start, updates, steps)
    run.seconds += time.perf_counter() - started
    run.images += remaining
    loss = torch.stack(run.losses).mean().item()
    top1, top5 = (100 * run.correct.double() / sum(map(len, batches))).tolist()
    return {"lr": recipe.lr_at(run.epoch * steps, steps), "loss": loss, "top1": top1, "top5": top5}


def _batches(run: Run, images: int) -> tuple[Tensor, ...]:
    """The indices of the images, batch by batch, of the epoch `run` is in."""
    order = permutation(run.seed, run.epoch, images, run.device)
    return order.split(run.recipe.batch_size)[: run.recipe.steps_per_epoch(images)]


def _updates(
    run: Run,
    images: Images,
    batches: tuple[Tensor, ...],
    normalize: Normalize,
    check: Callable[[], None],
) -> Iterator[None]:
    """The updates that are left of the epoch; each is made when it is asked for."""
    recipe, steps = run.recipe, len(batches)
    run.model.train()
    mine = map(run.ranks.shard, batches[run.step :])
    for pixels, labels in images.batches(mine, recipe.augmentation, run.seed, run.epoch):
        check()
        seed, whole = fold_in(run.seed, run.epoch * steps + run.step), len(batches[run.step])
        yield train_step(
            run, *recipe.mixed(normalize(pixels), labels, len(images.classes), seed), steps, whole
        )


def train_step(
    run: Run, pixels: Tensor, targets: Tensor, steps: int, whole: int | None = None
) -> None:
    """One update; `targets` are labels or soft labels. Nothing here waits for the device.

    They are this rank's part of a batch of `whole` images.
    """
    recipe, step, here = run.recipe, run.epoch * steps + run.step, len(pixels)
    whole = run.ranks.gradient_images(here, whole or here)
    run.seed_dropout(fold_in(run.seed, step) + run.ranks.rank)
    for group in run.optimizer.param_groups:
        group["lr"] = recipe.lr_at(step, steps)
    run.optimizer.zero_grad(set_to_none=True)
    count = recipe.parts(min(here, whole // run.ranks.world_size))
    parts = zip(pixels.tensor_split(count), targets.tensor_split(count), strict=True)
    done = [_backward(run, *part, len(part[0]) / whole) for part in parts]
    labels = targets if targets.ndim == 1 else targets.argmax(1)
    right = topk_correct(torch.cat([logits for _, logits in done]), labels).sum(1)
    loss, right = run.ranks.all_reduce_gradients(
        run.model, sum(loss for loss, _ in done), right, here, whole
    )
    if recipe.clip_norm is not None:
        nn.utils.clip_grad_norm_(run.model.parameters(), recipe.clip_norm)
    run.optimizer.step()
    run.average.update(run.model, step)
    run.losses.append(loss)
    run.correct += right
    run.step += 1


def _backward(run: Run, pixels: Tensor, targets: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Add the gradient of one part of a batch, `share` of it; the part's loss and logits."""
    with run.autocast():
        logits = run.forward(pixels)
    loss = share * run.recipe.loss(run.model, logits, targets)
    loss.backward()
    return loss.detach(), logits.detach()


def evaluate(
    run: Run, images: Images, normalize: Normalize, check: Callable[[], None]
) -> dict[str, float]:
    """Cross-entropy loss, top1 and top5 (%) of the network of `run` over every image, once."""
    return summary(*predict(run, images, normalize, check))


@torch.inference_mode()
def predict(
    run: Run, images: Images, normalize: Normalize, check: Callable[[], None] = lambda: None
) -> tuple[Tensor, Tensor]:
    """Image by image: the loss, (N,); and whether the best guess, the best five hit, (2, N)."""
    model, of_image = run.eval_model.eval(), []
    indices = torch.arange(len(images), device=run.device)
    batches = indices.tensor_split(math.ceil(len(images) / EVALUATION_BATCH / run.ranks.world_size))
    mine = [run.ranks.shard(batch) for batch in batches]
    parts = images.batches(mine, Identity(), run.seed, run.epoch)
    for pixels, labels in tqdm(parts, total=len(mine), **_bar(run, "evaluating")):
        check()
        with run.autocast():
            logits = model(normalize(pixels))
        losses = F.cross_entropy(logits.float(), labels, reduction="none")
        of_image.append(torch.cat([losses[None], topk_correct(logits, labels)]))
    losses, *hit = run.ranks.all_gather(torch.cat(of_image, 1), torch.cat(mine), len(images))
    return losses, torch.stack(hit).bool()


def summary(losses: Tensor, hit: Tensor) -> dict[str, float]:
    """What `predict` returns, in three numbers: loss, and top1 and top5 in %."""
    top1, top5 = (100 * hit.double().mean(1)).tolist()
    return {"loss": losses.double().mean().item(), "top1": top1, "top5": top5}


def accuracy_by_class(hit: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Accuracy in % class by class, (classes,); NaN for a class without images."""
    right = torch.bincount(labels[hit], minlength=classes)
    return 100 * right / torch.bincount(labels, minlength=classes)


def topk_correct(logits: Tensor, labels: Tensor) -> Tensor:
    """(2, N) bool: the label is the best guess; it is among the best five (or all, if fewer)."""
    guesses = logits.topk(min(5, logits.shape[1])).indices
    right = guesses == labels[:, None]
    return torch.stack([right[:, 0], right.any(1)])


def _diverged(
    run: Run, start: bytes, updates: Callable[[], Iterator[None]], steps: int
) -> NonFiniteError:
    """The error that tells what was not finite first since `start`, and at which step."""
    run.restore(start)
    run.forward = run.model  # whose modules can be watched
    looking = _bar(run, "not finite: looking for where")
    bar = tqdm(updates(), total=steps, initial=run.step, **looking)
    what = first_fault(run, bar) or "a loss or a weight (not so when the steps were repeated)"
    lr = run.recipe.lr_at(run.epoch * steps + run.step - 1, steps)
    return NonFiniteError(
        f"{what} is not finite at step {run.step} of epoch {run.epoch + 1} (lr {lr:.4g}); "
        "the checkpoint before is kept; a smaller recipe.lr may help"
    )


def _bar(run: Run, what: str) -> dict[str, object]:
    off = run.ranks.rank > 0 or None  # None: where there is no terminal
    return {"desc": what, "leave": False, "disable": off, "unit": "batch", "dynamic_ncols": True}
