"""A search for the best options sees the held-out images and never the test set."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
SMALL = ["data=digits", "data.image_size=8", "model=resnet20", "recipe=digits", "device=cpu"]


def test_optuna_maximizes_the_accuracy_on_the_held_out_images(tmp_path):
    pytest.importorskip("hydra_plugins.hydra_optuna_sweeper")
    words = ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=6", "hydra.sweeper.n_jobs=1"]
    words += ["hydra.sweeper.direction=maximize", "recipe.lr=interval(0.01,0.2)"]
    words += ["data.val=200", "recipe.epochs=1"]
    command = [sys.executable, str(ROOT / "train.py"), "-m", *SMALL, *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True)
    results = [json.loads(path.read_text()) for path in tmp_path.rglob("result.json")]
    (chosen,) = tmp_path.rglob("optimization_results.yaml")
    assert len(results) == 6
    assert yaml.safe_load(chosen.read_text())["best_value"] == max(r["val_top1"] for r in results)
