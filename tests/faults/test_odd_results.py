"""`scripts/table.py runs=DIR` leaves out every unusable run in DIR and gives the reason."""

import csv
import json
import math
import os
import runpy
import sys
from pathlib import Path

import pytest

from report import curves

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

    curves._say.cache_clear()  # each line is said once in a process
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
    "a number": ("5", "its result.json was not written by this program"),
    "null": ("null", "its result.json was not written by this program"),
    "deep": ("[" * 100_000, "its result.json cannot be read (it is nested too deeply)"),
    "not a number": (whole | {"top1": math.nan}, "its result.json has no usable top1"),
    "infinite": (whole | {"top1": math.inf}, "its result.json has no usable top1"),
    "true in place of a number": (whole | {"top1": True}, "its result.json has no usable top1"),
    "above 100 %": (whole | {"top1": 10**400}, "its result.json has no usable top1"),
    "below 0 %": (whole | {"top5": -5}, "its result.json has no usable top5"),
    "best is a word": (whole | {"best_top1": "x"}, "its result.json has no usable best_top1"),
    "seconds are a list": (whole | {"train_seconds": []}, "has no usable train_seconds"),
    "a seed below 0": (whole | {"seed": -1}, "its result.json has no usable seed"),
    "half a character": (whole | {"attn": "\ud800"}, "its result.json has no usable attn"),
    "an empty name": (whole | {"model": ""}, "its result.json has no usable model"),
    "a NUL in a name": (whole | {"attn": "a\0b"}, "its result.json has no usable attn"),
    "a line break in a name": (whole | {"data": "a\n# b"}, "its result.json has no usable data"),
    "a name without end": (whole | {"attn": "a" * 5000}, "its result.json has no usable attn"),
    "terminal codes": (whole | {"other": "\x1b[2J"}, "its result.json has no usable other"),
    "duplicated directory": (record("none", 0, 90.0), "the same run as runs/a/seed0"),
    "duplicated seed": (
        record("none", 0, 99.0) | {"config": "other"},
        "another configuration with the same name and seed as runs/a/seed0",
    ),
}


def test_odd_runs_are_left_out_and_said_to_be(table, tally):
    """The other run is compared alone: n = 1, and no ±."""
    write(Path("runs/a/seed0"), record("none", 0, 90.0))
    for case, (found, _) in ODD.items():
        write(Path("runs", case), found)
    code, words = table()
    row = next(line for line in words.splitlines() if line.startswith("| none |"))
    assert "90.00" in row
    assert "±" not in row
    assert not any(line.startswith("| se |") for line in words.splitlines())
    for case, (_, why) in ODD.items():
        tally(
            "B6",
            case,
            [
                code == 0,
                any(f"runs/{case}: " in line and why in line for line in words.splitlines()),
            ],
        )


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


LINE = '{"epoch": 1, "test.top1": 50.0}\n'
LOGS = {  # bytes of metrics.jsonl, and what is said of them
    "NUL bytes": (b"\0\0\0\n" + LINE.encode(), "1 lines are no epochs"),
    "half a line": (LINE.encode() + b'{"epoch": 2, "te', None),
    "no UTF-8": (LINE.encode() + b"\xff\xfe\n", "cannot be read"),
    "U+2028 in a text": (LINE.encode() + '{"epoch": 2, "x": "\u2028"}\n'.encode(), None),
    "a list": (b"[1, 2]\n" + LINE.encode(), "1 lines are no epochs"),
    "no epoch": (b'{"test.top1": 3}\n' + LINE.encode(), "1 lines are no epochs"),
    "an epoch that is no number": (b'{"epoch": "a"}\n' + LINE.encode(), "1 lines are no epochs"),
    "an epoch without end": (b'{"epoch": 1e999}\n' + LINE.encode(), "1 lines are no epochs"),
    "deep nesting": (b"[" * 100_000 + b"\n" + LINE.encode(), "1 lines are no epochs"),
    "a metric that is a list": (b'{"epoch": 1, "test.top1": [1]}\n', None),
    "a metric without end": (b'{"epoch": 1, "test.top1": 1' + b"0" * 400 + b"}\n", None),
}


def test_odd_logs_cost_their_curves_and_not_the_table(table, tally):
    for seed, (case, (content, _)) in enumerate(LOGS.items()):
        write(Path("runs", case), record("se", seed, 91.0))
        Path("runs", case, "metrics.jsonl").write_bytes(content)
    code, words = table()
    lines = words.splitlines()
    assert any(line.startswith("| se ") and f"| {len(LOGS)} " in line for line in lines)
    for case, (_, said) in LOGS.items():
        told = [line for line in lines if f"runs/{case}/metrics.jsonl" in line]
        right = said in told[0] if said and told else bool(said) == bool(told)
        tally("B6", case, [code == 0, right, "Traceback" not in words])


def test_pipes_and_devices_in_place_of_files_hang_nothing(table, tally):
    write(Path("runs/a/seed0"), record("none", 0, 90.0))
    write(Path("runs/b/seed0"), record("se", 0, 91.0))
    write(Path("runs/c/seed0"), None)
    os.mkfifo("runs/b/seed0/metrics.jsonl")
    os.mkfifo("runs/c/seed0/result.json")
    code, words = table()
    told = "runs/c/seed0: its result.json cannot be read (it is no regular file)" in words
    tally("B6", "pipes", [code == 0, told])


NAMES = [r"$\foo$", "a/b", "..", "=cmd|' /C calc'!A0", "<script>x</script>", "[x] y", "_x", "%\\"]


def test_odd_names_stay_names(table, tally):
    write(Path("runs/a/seed0"), record("none", 0, 90.0))
    for i, name in enumerate(NAMES):
        write(Path(f"runs/b/{i}"), record(name, 0, 91.0))
        write(Path(f"runs/c/{i}"), record("none", 0, 90.0) | {"data": name, "config": name})
    before = {path for path in Path.cwd().parent.iterdir()}
    code, words = table()
    tables = Path("tables/runs")
    inside = [path.resolve().is_relative_to(tables.resolve()) for path in tables.rglob("*")]
    page = (tables / "index.html").read_text()
    sheet = list(csv.reader((tables / "table.csv").read_text().splitlines()))
    tex = (tables / "table.tex").read_text()
    outcomes = [code == 0, all(inside), {*Path.cwd().parent.iterdir()} == before]
    outcomes += ["<script>x" not in page, "\\<script>x" in words, " <script>" not in words]
    outcomes += [not cell.startswith(("=", "+", "@")) for line in sheet for cell in line]
    outcomes += ["\n[x] y" not in tex, "\n{}[x] y" in tex]
    tally("B6", "names", outcomes)
