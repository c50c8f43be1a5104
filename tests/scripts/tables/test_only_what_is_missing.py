"""A killed table that is called again trains only the runs without a result."""

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
from hydra import initialize_config_dir

from report.records import COUNTS, LABELS, PERCENT
from scripts.tables import launch
from scripts.tables.launch import describe_missing, missing_runs, train_missing
from scripts.tables.plan import plan_sections

CONF = Path(__file__).parents[3] / "conf"
TABLE = {
    "settings": {"data": "digits", "model": "resnet20", "recipe": "digits"},
    "rows": {"none": "attn=none", "se": "attn=se", "nam": "attn=nam"},
}


@pytest.fixture
def plan(tmp_path, monkeypatch):
    """Six runs: three attentions, two seeds."""
    monkeypatch.chdir(tmp_path)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return plan_sections(TABLE, {}, [0, 1])


def finish(plan, *names):
    """Write the results of these (row, seed), as a killed table leaves them."""
    for row, seed in names:
        run = plan[0].rows[row][seed]
        run.folder.path.mkdir(parents=True)
        result = dict.fromkeys((*COUNTS, *PERCENT, "seed"), 1) | dict.fromkeys(LABELS[:-1], "x")
        result |= {"config": run.folder.fingerprint}
        (run.folder.path / "result.json").write_text(json.dumps(result))


@pytest.fixture
def started(monkeypatch):
    """The (attention, seed) of the started runs; nothing is trained."""
    runs, codes = [], []

    def run(command):
        said = dict(word.split("=") for word in command[3:])
        runs.extend(itertools.product(said["attn"].split(","), said["seed"].split(",")))
        return codes[-1] if codes else 0

    monkeypatch.setattr(launch, "_train", run)
    return SimpleNamespace(runs=runs, codes=codes)


def test_what_has_a_result_is_not_trained_again(plan, started):
    finish(plan, ("none", 0), ("none", 1), ("se", 0), ("nam", 0))
    missing = missing_runs(plan)
    assert [(run.overrides["attn"], run.seed) for run in missing] == [("se", 1), ("nam", 1)]
    assert describe_missing(plan, missing, []).splitlines() == [
        "missing: 2 of 6 runs, time unknown until a similar run has finished",
        "  resnet20 se: seeds 1",
        "  resnet20 nam: seeds 1",
    ]
    train_missing(missing)
    assert started.runs == [("se", "1"), ("nam", "1")]


def test_everything_is_trained_at_first_and_nothing_at_last(plan, started):
    train_missing(missing_runs(plan))
    assert sorted(started.runs) == sorted(itertools.product(("none", "se", "nam"), "01"))
    finish(plan, *itertools.product(("none", "se", "nam"), (0, 1)))
    assert missing_runs(plan) == []
    started.runs.clear()
    train_missing([])
    assert started.runs == []


def test_a_signal_stops_the_table_as_well_and_a_refused_run_does_not(plan, started):
    for code, answer in ((-9, 137), (143, 143)):
        started.codes.append(code)
        with pytest.raises(SystemExit) as left:
            train_missing(missing_runs(plan))
        assert left.value.code == answer
    started.codes.append(2)
    train_missing(missing_runs(plan))
