import json

import pytest


def record(attn="none", seed=0, top1=90.0, **changes):
    """The compared fields of a result.json, and the fields that `collect` adds."""
    return {
        "data": "digits", "model": "resnet20", "attn": attn, "recipe": "digits", "other": "",
        "seed": seed, "epochs": 5, "top1": top1, "top5": 99.0, "best_top1": top1 + 0.25,
        "params": 1000, "macs": 2_500_000, "elements": 10, "train_seconds": 10.0,
        "images_per_second": 100.0, "config": f"{attn}-{seed}-{changes}",
    } | changes  # fmt: skip


@pytest.fixture
def new_record():
    return record


@pytest.fixture
def new_run(tmp_path):
    """Write the directory of a run; `None` for a file leaves it out."""

    def write(name, result, epochs=(10.0, 20.0)):
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "config.yaml").write_text("seed: 0\n")
        lines = [json.dumps({"epoch": i, "test.top1": v}) for i, v in enumerate(epochs, 1)]
        (folder / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))
        if result is not None:
            text = result if isinstance(result, str) else json.dumps(result)
            (folder / "result.json").write_text(text)
        return folder

    return write


@pytest.fixture
def compared(new_run):
    """The comparison of three attentions at three seeds, from files: se gains, nam does not."""
    from report.records import collect
    from report.table import judged, of_records

    top1 = {"none": (90.0, 91.0, 92.0), "se": (92.0, 93.1, 93.9), "nam": (91.0, 90.5, 92.4)}
    for name, values in top1.items():
        for seed, value in enumerate(values):
            folder = new_run(f"runs/{name}/seed{seed}", record(name, seed, value))
    return judged(of_records(collect(folder.parents[1]).records))
