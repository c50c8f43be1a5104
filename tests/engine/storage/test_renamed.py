"""Old names of classes and options in stored configurations become today's names."""

import os
import subprocess
import sys
from pathlib import Path

import yaml

from engine.storage.renamed import CLASSES, modernize

ROOT = Path(__file__).parents[3]


def test_every_old_class_name_in_the_published_results_has_a_name_of_today():
    stored = ROOT.glob("results/**/config.yaml")
    found = {target for path in stored for target in _targets(yaml.safe_load(path.read_text()))}
    moved = {target for target in found if target.startswith("engine.")}
    assert moved
    assert moved <= CLASSES.keys() | set(CLASSES.values())


def test_old_names_are_replaced_wherever_they_are_nested():
    stored = {"model": {"slots": {"tail": {"_target_": "attn.FusedTail", "devices": ["cpu"]}}}}
    assert modernize(stored) == {
        "model": {"slots": {"epilogue": {"_target_": "attn.FusedEpilogue", "devices": ["cpu"]}}}
    }


def test_runs_that_were_stored_under_old_names_stay_finished(tmp_path):
    command = [sys.executable, "scripts/table.py", "table=cifar100_cpu", f"to={tmp_path}"]
    command.append("runs=results/cifar100_cpu/runs")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    printed = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert "missing" not in printed
    assert printed.count("| 3 |") == 11, "11 rows of 3 seeds each"


def _targets(tree):
    if isinstance(tree, dict):
        yield from (value for key, value in tree.items() if key == "_target_")
    for item in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _targets(item)
