"""The files below results/: tables follow from their runs, runs from the configuration."""

import csv
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"
FOLDERS = sorted(path.name for path in RESULTS.iterdir() if path.is_dir())
TABLES = [name for name in FOLDERS if (RESULTS / name / "table.md").exists()]  # the complete tables


def runs(name):
    return sorted((RESULTS / name / "runs").rglob("result.json"))


@pytest.fixture(scope="module", params=TABLES)
def rendered(request, tmp_path_factory):
    """A table made again from its runs: (name, new folder, output)."""
    name, to = request.param, tmp_path_factory.mktemp("results")
    (to / name).mkdir()
    if (RESULTS / name / "cost.json").exists():
        shutil.copy(RESULTS / name / "cost.json", to / name)
    command = ["scripts/table.py", f"table={name}", f"runs=results/{name}/runs", f"to={to}"]
    ended = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},  # this checkout, not an installed one
        capture_output=True,
        text=True,
    )
    assert ended.returncode == 0, ended.stderr
    return name, to / name, ended.stdout


@pytest.mark.parametrize("file", ["table.md", "table.tex"])
def test_a_table_follows_from_its_runs(rendered, file):
    name, made, _ = rendered
    assert (made / file).read_text() == (RESULTS / name / file).read_text()


def test_the_numbers_in_full_follow_from_the_runs(rendered):
    """Up to their last digits, which depend on the kind of CPU."""
    name, made, _ = rendered
    texts = ((folder / "table.csv").read_text() for folder in (made, RESULTS / name))
    new, kept = (re.split(r"[,\n]", text) for text in texts)
    for cell, expected in zip(new, kept, strict=True):
        if cell != expected:
            assert float(cell) == pytest.approx(float(expected), rel=1e-6, abs=1e-6)


def test_no_run_is_missing_or_left_out(rendered):
    *_, said = rendered
    assert "missing" not in said
    assert "left out" not in said


@pytest.mark.parametrize("name", FOLDERS)
def test_a_result_is_that_of_its_log(name):
    for path in runs(name):
        result = json.loads(path.read_text())
        lines = (path.parent / "metrics.jsonl").read_text().splitlines()
        log = [json.loads(line) for line in lines]
        assert len(log) == result["epochs"]
        assert (log[-1]["test.top1"], log[-1]["test.top5"]) == (result["top1"], result["top5"])


@pytest.mark.parametrize("name", TABLES)
def test_all_runs_are_of_one_source_and_one_machine(name):
    kinds = [json.loads(path.read_text()) for path in runs(name)]
    assert len({tuple(kind[key] for key in ("revision", "torch", "device")) for kind in kinds}) == 1


@pytest.mark.parametrize("name", FOLDERS)
def test_no_run_holds_a_path_of_the_machine(name):
    for path in runs(name):
        config = yaml.safe_load((path.parent / "config.yaml").read_text())
        assert not Path(config["out"]).is_absolute()
        assert not Path(config["data"]["root"]).is_absolute()


def test_the_readme_says_what_the_small_table_finds():
    found = (RESULTS / "cifar100_small/table.md").read_text()
    readme = " ".join((ROOT / "README.md").read_text().split())
    (headline,) = [line for line in found.splitlines() if line.startswith("With 2 seeds, ")]
    gains, losses, _ = headline.removeprefix("With 2 seeds, ").split("; ")
    assert f"{gains}; {losses};" in readme
    assert "a difference below 1.2 is not resolved" in headline


def test_the_readme_says_what_the_table_of_the_cpu_finds():
    with (RESULTS / "cifar100_cpu/table.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    losses = {row["attn"]: -float(row["difference"]) for row in rows if row["verdict"] == "loss"}
    assert losses.keys() == {"sem", "aff", "cbam", "nam", "se", "half"}
    assert {row["verdict"] for row in rows} == {"", "loss", "not resolved"}
    readme = " ".join((ROOT / "README.md").read_text().split())
    assert "After two epochs SEM, AFF, CBAM, NAM, SE and `half`" in readme
    assert f"by {min(losses.values()):.1f} to {max(losses.values()):.1f} points" in readme
    half_width = {round(float(row["resolvable"]), 1) for row in rows if row["resolvable"]}
    assert half_width == {1.6}
    assert "Differences below 1.6 points are not resolved" in readme
