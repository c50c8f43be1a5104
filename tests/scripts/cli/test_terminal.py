"""Output reaches any terminal, pipe or file, or the process says that it does not."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.cli.terminal import printable, use_ascii_signs_where_needed

ROOT = Path(__file__).parents[3]


def run(*words, **options):
    command = [sys.executable, str(ROOT / "train.py"), *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, text=True, stderr=subprocess.PIPE, **options)


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [("ascii", "1 +- 2 x ?"), ("utf-8", "1 ± 2 × ü"), ("latin1", "1 ± 2 × ü")],
)
def test_signs_that_the_terminal_lacks_are_printed_in_ascii(monkeypatch, encoding, printed):
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr("sys.stdout", stream)
    use_ascii_signs_where_needed()
    print("1 ± 2 × ü", end="")
    stream.flush()
    assert stream.buffer.getvalue().decode(encoding) == printed


def test_a_file_name_that_is_no_text_is_printed_nevertheless(monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), "utf-8")
    monkeypatch.setattr("sys.stdout", stream)
    use_ascii_signs_where_needed()
    print("a\udcff.png", flush=True)
    assert stream.buffer.getvalue() == b"a?.png\n"


def test_a_message_is_one_line_without_codes_for_the_terminal():
    assert printable("a\nb\x1b[2J ± ü") == r"a\nb\x1b[2J ± ü"


def test_an_output_that_cannot_be_written_is_said(tmp_path):
    with open("/dev/full", "w") as full:
        done = run("--cfg", "job", cwd=tmp_path, stdout=full)
    assert done.returncode == 3
    assert done.stderr == "the output cannot be written: No space left on device\n"


def test_words_may_follow_a_flag_with_a_value(tmp_path):
    done = run(
        "--cfg",
        "job",
        "seed=7",
        "-p",
        "recipe",
        "recipe.epochs=3",
        cwd=tmp_path,
        stdout=subprocess.PIPE,
    )
    assert done.returncode == 0, done.stderr
    assert "epochs: 3" in done.stdout


def test_a_command_line_without_end_is_refused_in_one_line(tmp_path):
    deep = "recipe.augment=" + "[" * 300 + "]" * 300
    done = run(deep, "--cfg", "job", cwd=tmp_path, stdout=subprocess.PIPE)
    assert (done.returncode, done.stderr) == (
        2,
        "train.py: the command line is nested too deeply\n",
    )
