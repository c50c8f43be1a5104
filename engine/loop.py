"""The two passes over the images: one that trains, one that measures."""

import math
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from engine.augment import Keep
from engine.errors import Diverged
from engine.images import Images, Normalize
from engine.keyed import key, permutation
from engine.run import Run

EVALUATION_BATCH = 250


def train_epoch(
    run: Run, images: Images, normalize: Normalize, check: Callable[[], None]
) -> dict[str, float]:
    """What is left of the epoch `run` is in; lr, mean loss, top1 and top5 (%) over all of it.

    `check` is called between two steps, where the run can be saved and left.
    """
    recipe, steps = run.recipe, run.recipe.steps_per_epoch(len(images))
    order = permutation(run.seed, run.epoch, len(images), run.device)
    batches = order.split(recipe.batch_size)[:steps]
    remaining = batches[run.step :]
    run.model.train()
    started = time.perf_counter()
    with tqdm(
        total=steps, initial=run.step, **_bar(f"epoch {run.epoch + 1}/{recipe.epochs}")
    ) as bar:
        for pixels, labels in images.batches(remaining, recipe.augment, run.seed, run.epoch):
            check()
            train_step(run, normalize(pixels), labels, steps)
            if bar.update():  # true where the bar was redrawn, some ten times a second at most
                bar.set_postfix(loss=f"{_last_loss(run, steps):.3f}", refresh=False)
    _last_loss(run, steps)
    run.seconds += time.perf_counter() - started
    run.images += sum(map(len, remaining))
    loss = torch.stack(run.losses).mean().item()
    top1, top5 = (100 * run.correct.double() / sum(map(len, batches))).tolist()
    return {"lr": recipe.lr_at(run.epoch * steps, steps), "loss": loss, "top1": top1, "top5": top5}


def train_step(run: Run, pixels: Tensor, labels: Tensor, steps: int) -> None:
    """One update. Nothing here waits for the device."""
    step = run.epoch * steps + run.step
    torch.manual_seed(key(run.seed, step))  # for dropout
    for group in run.optimizer.param_groups:
        group["lr"] = run.recipe.lr_at(step, steps)
    with run.autocast():
        logits = run.model(pixels)
    loss = run.recipe.loss(run.model, logits, labels)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    run.optimizer.step()
    run.losses.append(loss.detach())
    run.correct += hits(logits.detach(), labels).sum(1)
    run.step += 1


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
    run.model.eval()
    losses, hit = [], []
    parts = torch.arange(len(images), device=run.device).split(EVALUATION_BATCH)
    batches = images.batches(parts, Keep(), run.seed, run.epoch)
    for pixels, labels in tqdm(batches, total=len(parts), **_bar("evaluating")):
        check()
        with run.autocast():
            logits = run.model(normalize(pixels))
        losses.append(F.cross_entropy(logits.float(), labels, reduction="none"))
        hit.append(hits(logits, labels))
    return torch.cat(losses), torch.cat(hit, 1)


def summary(losses: Tensor, hit: Tensor) -> dict[str, float]:
    """What `predict` returns, in three numbers: loss, and top1 and top5 in %."""
    top1, top5 = (100 * hit.double().mean(1)).tolist()
    return {"loss": losses.double().mean().item(), "top1": top1, "top5": top5}


def accuracy_by_class(hit: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Accuracy in % class by class, (classes,); NaN for a class without images."""
    right = torch.bincount(labels[hit], minlength=classes)
    return 100 * right / torch.bincount(labels, minlength=classes)


def hits(logits: Tensor, labels: Tensor) -> Tensor:
    """(2, N) bool: the label is the best guess; it is among the best five (or all, if fewer)."""
    guesses = logits.topk(min(5, logits.shape[1])).indices
    right = guesses == labels[:, None]
    return torch.stack([right[:, 0], right.any(1)])


def _last_loss(run: Run, steps: int) -> float:
    """The last loss; Diverged, naming where, if one of this epoch's is not finite."""
    losses = torch.stack(run.losses)
    if math.isfinite(last := losses[-1].item()) and losses.isfinite().all():
        return last
    step = int(losses.isfinite().logical_not().nonzero()[0])
    lr = run.recipe.lr_at(run.epoch * steps + step, steps)
    where = f"step {step + 1} of epoch {run.epoch + 1} (lr {lr:.4g})"
    raise Diverged(f"the loss is {losses[step].item()} at {where}; try a smaller recipe.lr")


def _bar(what: str) -> dict[str, object]:
    return {"desc": what, "leave": False, "disable": None, "unit": "batch", "dynamic_ncols": True}
