"""Train one network with one attention module: `python train.py model=resnet50 attn=nam seed=1`."""

from contextlib import nullcontext

from omegaconf import DictConfig

from engine.distributed.launch import process_group
from engine.distributed.ranks import Ranks
from engine.errors import enough_memory, whole_compiler_cache
from engine.seeds import Seeds
from engine.storage.run_dir import RunDir
from scripts.cli.app import run_app
from scripts.cli.compose import build
from scripts.cli.made_from import compare_finished, made_from, require_images
from scripts.cli.run_path import run_directory


def train(cfg: DictConfig, folder: RunDir, ranks: Ranks) -> dict[str, object]:
    """Train to the last epoch, from the checkpoint in `folder` if any; return the result."""
    from engine.environment import prepare_device  # torch: not before the names are checked
    from engine.training.fit import fit
    from engine.training.result import finish
    from engine.training.run import Run
    from scripts.cli.build_model import build_network

    device = prepare_device(ranks.device(cfg.device), cfg.deterministic)
    recipe, dataset, model = build(cfg.recipe), build(cfg.data), build_network(cfg, ranks)
    run = Run(model, recipe, Seeds.of(cfg), device, cfg.precision, ranks, cfg.compile)
    ranks.broadcast_result(lambda: folder.store_origin(made_from(cfg)))
    rows = fit(run, dataset, folder, cfg.graph, cfg.checkpoint_seconds)
    return ranks.broadcast_result(finish, run, folder, rows)


def main(cfg: DictConfig) -> float:
    """Train one run, unless it is finished; return top-1 accuracy in %.

    The value is that of the held-out images if there are any (data.val): a sweeper that looks for
    the best options never sees the test set.
    """
    folder = run_directory(cfg)
    with process_group(folder.fingerprint) as ranks:
        result, done = ranks.broadcast_result(folder.result), "already finished"
        if result:
            ranks.broadcast_result(compare_finished, folder, cfg)
        else:
            ranks.broadcast_result(require_images, cfg)
            claimed = ranks.run_on_rank_zero(folder.claim) or nullcontext()
            with claimed, enough_memory(cfg.recipe.batch_size), whole_compiler_cache():
                result, done = train(cfg, folder, ranks), "finished"
        reached = f"top-1 {result['top1']:.2f} %  top-5 {result['top5']:.2f} %"
        ranks.run_on_rank_zero(print, f"{done}: {folder.path}  {reached}")
    return result["top1"] if result.get("val_top1") is None else result["val_top1"]


if __name__ == "__main__":
    run_app(main, "train")
