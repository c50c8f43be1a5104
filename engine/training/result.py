"""The result of a finished run: its weights, and one record of their accuracy and their cost."""

from dataclasses import asdict
from typing import Any

import torch
from safetensors.torch import save

from engine.complexity import cost
from engine.environment import cpu_name, device_name, peak_memory_mb, revision
from engine.storage.atomic import replacing, write_json
from engine.storage.origin import Origin
from engine.storage.run_dir import RunDir
from engine.training.run import Run


def finish(run: Run, folder: RunDir, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Write weights.safetensors and, last of all, result.json; return the contents of result.json.

    `rows` are the logged epochs; top1 and top5 of the result are those of the last epoch.
    """
    weights = {name: tensor.contiguous() for name, tensor in run.eval_model.state_dict().items()}
    with replacing(folder.path / "weights.safetensors") as file:
        file.write(save(weights))
    seen = [row["test.top1"] for row in rows if "test.top1" in row]
    result = {
        **folder.labels,
        "epochs": run.recipe.epochs,
        "ema": run.recipe.ema,  # null: the last weights, not their average
        "top1": rows[-1]["test.top1"],
        "top5": rows[-1]["test.top5"],
        "val_top1": rows[-1].get("val.top1"),  # None: no images were held out
        "best_top1": max(seen) if len(seen) == len(rows) else None,  # None: some were not measured
        **asdict(cost(run.model, folder.config["data"]["image_size"])),
        "train_seconds": run.seconds,
        "images_per_second": run.images_per_second,
        "peak_memory_mb": peak_memory_mb(run.device),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": run.precision,
        "device": device_name(run.device),
        "cpu": cpu_name(),
        "threads": torch.get_num_threads(),
        "ranks": run.ranks.world_size,
        "torch": torch.__version__,
        "revision": revision(),
        "config": folder.fingerprint,
        **_made_from(folder.origin),
    }
    write_json(folder.path / "result.json", result)
    return result


def _made_from(origin: Origin | None) -> dict[str, Any]:
    """The number of images by split, and the digests; the classes are in config.yaml."""
    if origin is None:
        return {}
    return {
        "images": dict(origin.images),
        "data_digest": origin.data,
        "weights_digest": origin.weights,
    }
