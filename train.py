"""Train one network with one attention module: `python train.py model=resnet50 attn=nam seed=1`."""

from functools import partial

from omegaconf import DictConfig

from engine.errors import enough_memory, refusing
from engine.rundir import RunDir
from scripts.door import build, door
from scripts.runs import run_directory


def train(cfg: DictConfig, folder: RunDir) -> dict[str, object]:
    """Train to the last epoch, resuming what `folder` holds; return the result."""
    import torch  # not before the names are checked and the folder is found to be free

    from engine.checkpoint import require_room
    from engine.gates import look
    from engine.log import Log
    from engine.loop import evaluate, train_epoch
    from engine.result import finish
    from engine.run import Run, prepare_device
    from engine.signals import Interruption

    device = prepare_device(cfg.device)
    recipe, source = build(cfg.recipe), build(cfg.data)
    torch.manual_seed(cfg.seed)
    run = Run(build(cfg.model), recipe, cfg.seed, device, cfg.precision)
    require_room(folder.path, run.model)
    with refusing("data"):
        images = {split: source.load(split).to(device) for split in source.splits}
    run.resume(folder.path)
    save = partial(run.save, folder.path)
    with Log(folder, run) as log, Interruption(save) as interruption:
        over = partial(evaluate, run, normalize=source.normalize, check=interruption.check)
        while run.epoch < recipe.epochs:
            watched = source.watched(last=run.epoch + 1 == recipe.epochs)
            fit = train_epoch(run, images["train"], source.normalize, interruption.check)
            log.epoch(run, {"train": fit} | {split: over(images[split]) for split in watched})
            log.attention(run, look(run, images[watched[0]], source.normalize))
            run.next_epoch()
            save()
    return finish(run, folder, log.rows)


def main(cfg: DictConfig) -> float:
    """One run, or what it measured if it is finished; top-1 accuracy in %."""
    folder = run_directory(cfg)
    result = folder.result()
    done = "already finished" if result else "finished"
    if not result:
        with folder.claim(), enough_memory(cfg.recipe.batch_size):
            result = train(cfg, folder)
    print(f"{done}: {folder.path}  top-1 {result['top1']:.2f} %  top-5 {result['top5']:.2f} %")
    return result["top1"]


if __name__ == "__main__":
    door(main, "train")
