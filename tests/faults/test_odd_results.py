"""`scripts/table.py runs=DIR` leaves out every unusable run in DIR and gives the reason."""

import json
import runpy
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.fault("B6")

DOOR = Path(__file__).parents[2] / "scripts/table.py"


def record(attn: str, seed: int, top1: float) -> dict:
    """The fields of a result.json that tables compare."""
    return {
        "data": "digits", "model": "resnet20", "attn": attn, "recipe": "digits", "other": "",
        "seed": seed, "epochs": 5, "top1": top1, "top5": 99.0, "best_top1": top1, "params": 1000,
        "macs": 2_500_000, "elements": 10, "train_seconds": 10.0, "images_per_second": 100.0,
        "config": f"{attn}-{seed}",
    }  # fmt: skip


def write(folder: Path, result: object) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 0\n")
    if result is not None:
        text = result if isinstance(result, str) else json.dumps(result)
        (folder / "result.json").write_text(text)


@pytest.fixture
def table(tmp_path, monkeypatch, capsys):
    """table(): the exit code and the output of `table.py runs=runs`."""

    def printed() -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", [str(DOOR), "runs=runs"])
        code = 0
        try:
            runpy.run_path(str(DOOR), run_name="__main__")
        except SystemExit as error:
            code = error.code
        captured = capsys.readouterr()
        return code, captured.out + captured.err

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # the command sets it too; monkeypatch unsets it
    return printed


whole = record("se", 0, 92.0)
older = {key: value for key, value in whole.items() if key != "elements"}
ODD = {  # the content of result.json, and the reason for leaving the run out
    "unfinished": (None, "unfinished, 0 epochs done"),
    "half-written": (json.dumps(whole)[:60], "its result.json cannot be read"),
    "older version": (older, "its result.json has no usable elements: another version wrote it"),
    "foreign file": ({"accuracy": 0.92}, "its result.json was not written by this program"),
    "other metric": (whole | {"top1": "92 %"}, "its result.json has no usable top1"),
    "duplicated directory": (record("none", 0, 90.0), "the same run as runs/a/seed0"),
    "duplicated seed": (
        record("none", 0, 99.0) | {"config": "other"},
        "another configuration with the same name and seed as runs/a/seed0",
    ),
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_run_is_left_out_and_said_to_be(case, table, tally):
    """The other run is compared alone: n = 1, and no ±."""
    found, why = ODD[case]
    write(Path("runs/a/seed0"), record("none", 0, 90.0))
    write(Path("runs/b/seed0"), found)
    code, words = table()
    assert f"left out: runs/b/seed0: {why}" in words
    row = next(line for line in words.splitlines() if line.startswith("| none |"))
    assert "90.00" in row
    assert "±" not in row
    assert not any(line.startswith("| se |") for line in words.splitlines())
    tally("B6", case, [code == 0])


def test_with_three_seeds_there_is_a_deviation(table, tally):
    """The control: with three usable runs, the ± appears."""
    for seed, top1 in enumerate((90.0, 91.0, 92.0)):
        write(Path(f"runs/seed{seed}"), record("none", seed, top1))
    code, words = table()
    row = next(line for line in words.splitlines() if line.startswith("| none |"))
    tally("B6", "three seeds", [code == 0, "91.00 ± 1.00" in row, "left out" not in words])


def test_nothing_to_compare_is_refused(table, tally):
    Path("runs").mkdir()
    empty = table()
    write(Path("runs/b/seed0"), None)
    unfinished = table()
    right = "table.py: runs=runs: no finished run below it"
    outcomes = [code == 2 and words.startswith(right) for code, words in (empty, unfinished)]
    assert "runs/b/seed0: unfinished" in unfinished[1]
    tally("B6", "empty folder", [*outcomes, not Path("tables").exists()])
