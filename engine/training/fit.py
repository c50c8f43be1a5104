"""The whole training of a run in one loop: epochs, evaluation, log and checkpoints."""

import sys
from functools import partial
from typing import Any

from tqdm import tqdm

from engine.datasets.dataset import ImageDataset
from engine.environment import slow_precision
from engine.storage.checkpoint import Writer, require_room
from engine.storage.run_dir import RunDir
from engine.training.forecast import Forecast
from engine.training.gate_stats import measure_gates
from engine.training.graph import use_graphs
from engine.training.interruption import Interruption
from engine.training.logger import NullLogger, RunLogger
from engine.training.loop import evaluate, pause, steps_between_looks, train_epoch
from engine.training.run import Run


def fit(
    run: Run, source: ImageDataset, folder: RunDir, graph: bool, checkpoint_seconds: float
) -> list[dict[str, Any]]:
    """Train `run` to its last epoch, from the newest checkpoint in `folder`; the logged rows."""
    recipe, ranks, normalize = run.recipe, run.ranks, source.normalize
    ranks.run_on_rank_zero(require_room, folder.path, run.model)
    images = source.load_all(str(run.device), recipe.batch_size, ranks)
    run.resume(folder.path)
    ranks.run_on_rank_zero(print, f"data: {source.describe(images)}")
    if slow := slow_precision(run.device, run.precision):
        ranks.run_on_rank_zero(partial(tqdm.write, slow, file=sys.stderr))
    use_graphs(run, images, normalize, graph)
    with (
        Interruption(ranks) as interruption,
        ranks.run_on_rank_zero(RunLogger, folder, run) or NullLogger() as log,
        Writer(folder.path, checkpoint_seconds) as writer,
    ):
        steps = recipe.steps_per_epoch(len(images["train"]))
        check = partial(pause, run, writer, interruption, steps)
        evaluated = len(images[source.splits[1]]) / len(images["train"])
        check_step = Forecast(check, run, steps, steps_between_looks(steps), evaluated, log.say)
        while run.epoch < recipe.epochs:
            splits = source.eval_splits(last=run.epoch + 1 == recipe.epochs)
            rows = {"train": train_epoch(run, images["train"], normalize, check_step)}
            rows |= {split: evaluate(run, images[split], normalize, check) for split in splits}
            log.epoch(run, rows)
            log.attention(run, measure_gates(run, images[splits[0]], normalize))
            run.next_epoch()
            check(in_epoch=False)
        writer.wait()
        run.save(folder.path)
    return log.rows
