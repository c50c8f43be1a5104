"""Real processes: a table trains its missing runs, is killed, and is called again."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL = (
    "table=quickstart", "data.image_size=8", "recipe.epochs=1", "device=cpu", "attn=none,se,nam",
    "seeds=2",
)  # fmt: skip


def start(*arguments, cwd):
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts/table.py"), *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(*arguments, cwd):
    process = start(*arguments, cwd=cwd)
    out, err = process.communicate()
    return process.returncode, out, err


def accuracies(cwd):
    """The columns of table.csv that do not depend on the clock."""
    (file,) = cwd.glob("tables/quickstart/*/table.csv")
    timed = ("ratio", "second")
    return [
        {key: cell for key, cell in line.items() if not any(word in key for word in timed)}
        for line in read(file)
    ]


def read(file):
    return list(csv.DictReader(file.read_text().splitlines()))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    cwd = tmp_path_factory.mktemp("unbroken")
    code, out, err = finish(*SMALL, "run=true", cwd=cwd)
    assert code == 0, err
    return cwd, out


def test_a_table_says_what_it_lacks_and_trains_nothing_unasked(tmp_path):
    code, out, _ = finish(*SMALL, cwd=tmp_path)
    assert code == 0
    assert "missing: 6 of 6 runs" in out
    assert "add run=true" in out
    assert list(tmp_path.iterdir()) == []


def test_it_ends_with_the_table_its_page_and_its_plots(unbroken):
    cwd, out = unbroken
    (folder,) = cwd.glob("tables/quickstart/*")
    names = {file.name for file in folder.iterdir()}
    assert {"index.html", "table.md", "table.csv", "table.tex", "forest.svg", "cost.json"} <= names
    assert (folder / "table.md").read_text() in out
    lines = read(folder / "table.csv")
    assert [line["n"] for line in lines] == ["2", "2", "2"]
    assert [line["verdict"] in ("gain", "loss", "not resolved") for line in lines] == [0, 1, 1]
    assert all(float(line["train_ratio"]) > 0 for line in lines)


def test_run_again_it_trains_and_measures_nothing(unbroken):
    cwd, out = unbroken
    before = {file: file.stat().st_mtime_ns for file in cwd.rglob("runs/**/*") if file.is_file()}
    code, again, _ = finish(*SMALL, "run=true", cwd=cwd)
    assert code == 0
    assert again == out[out.index("\n# ") + 1 :]
    assert before == {f: f.stat().st_mtime_ns for f in cwd.rglob("runs/**/*") if f.is_file()}


def test_killed_in_the_middle_it_is_simply_called_again(unbroken, tmp_path):
    process = start(*SMALL, "run=true", cwd=tmp_path)
    while len(list(tmp_path.rglob("result.json"))) < 2 and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("result.json")}
    assert 2 <= len(done) < 6
    code, _, err = finish(*SMALL, "run=true", "cost=false", cwd=tmp_path)
    assert code == 0, err
    assert len(list(tmp_path.rglob("result.json"))) == 6
    assert all(file.stat().st_mtime_ns == when for file, when in done.items())
    assert accuracies(tmp_path) == accuracies(unbroken[0])
    for file in unbroken[0].rglob("weights.safetensors"):
        assert (tmp_path / file.relative_to(unbroken[0])).read_bytes() == file.read_bytes()


def test_a_row_that_cannot_run_is_said_and_the_others_are_shown(unbroken, tmp_path):
    more = ("attn=none,psa", "seeds=1", "run=true", "cost=false")
    code, out, err = finish(*SMALL, *more, cwd=tmp_path)
    assert code == 1
    assert "psa: no finished run; missing 0" in out
    assert "| none |" in out
    assert "1 of the runs did not finish" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["table=quikstart"], "did you mean table=quickstart?"),
        (["table=quickstart", "recipe.epoch=2"], "did you mean recipe.epochs?"),
        (["table=quickstart", "seeds=-1"], "expected how many, or which"),
        (["table=quickstart", "seed=3"], "say seeds=[3]"),
        (["model=resnet20"], "say which: table=NAME"),
        (["runs=nowhere"], "no finished run below it"),
        (["table=quickstart", "run"], "write run=VALUE"),
    ],
)
def test_bad_input_gets_one_line_and_exit_code_2(arguments, words, tmp_path):
    code, _, err = finish(*arguments, cwd=tmp_path)
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1
