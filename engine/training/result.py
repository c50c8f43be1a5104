"""The result of a finished run: its weights, and one record of what they reach and cost."""

import platform
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from engine.complexity import cost
from engine.storage.atomic import replacing, write_json
from engine.storage.run_dir import RunDir
from engine.training.run import Run

ROOT = Path(__file__).parents[2]


def finish(run: Run, folder: RunDir, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Write weights.safetensors and, last of all, result.json; return what the latter holds.

    Its top1 and top5 are those of the last of the logged `rows`.
    """
    weights = {name: tensor.contiguous() for name, tensor in run.measured.state_dict().items()}
    with replacing(folder.path / "weights.safetensors") as file:
        file.write(save(weights))
    seen = [row["test.top1"] for row in rows if "test.top1" in row]
    result = {
        **folder.labels,
        "epochs": run.recipe.epochs,
        "ema": run.recipe.ema,  # null: the weights are the last ones, not their average
        "top1": rows[-1]["test.top1"],
        "top5": rows[-1]["test.top5"],
        "best_top1": max(seen) if len(seen) == len(rows) else None,  # None: it was not looked at
        **asdict(cost(run.model, folder.config["data"]["image_size"])),
        "train_seconds": run.seconds,
        "images_per_second": run.images_per_second,
        "peak_memory_mb": peak_memory_mb(run.device),
        "device": device_name(run.device),
        "ranks": run.ranks.world,
        "torch": torch.__version__,
        "revision": revision(),
        "config": folder.fingerprint,
    }
    write_json(folder.path / "result.json", result)
    return result


def peak_memory_mb(device: torch.device) -> float | None:
    """What the accelerator's tensors took at most; None on a CPU, where nothing counts them."""
    if device.type != "cuda":
        return None
    return torch.cuda.max_memory_allocated(device) / 2**20


def device_name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.get_num_threads()} threads)"


def revision() -> str:
    """The commit of the source, with a + if it was changed since; "unknown" outside of git."""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
