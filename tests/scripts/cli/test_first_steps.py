"""A command without words says what to try."""

import os
import shlex
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from scripts.cli.app import run_app
from scripts.cli.first_steps import TRAIN, without_words
from scripts.cli.overrides import CONF


def test_three_commands_to_try_first_exist_and_fit_the_terminal():
    first, others = TRAIN
    assert max(map(len, (f"train.py: {first}", *others))) <= 80
    commands = [shlex.split(line) for line in others if line.startswith("  python ")]
    assert len(commands) == 3
    for _, script, *words in commands:
        config = Path(script).stem
        with initialize_config_dir(str(CONF), version_base="1.3"):
            compose(config, words)


@pytest.mark.parametrize("command", ["eval", "cam"])
def test_the_newest_finished_runs_are_listed(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert without_words(command) == (
        "say run=DIR, the folder of a run; no run is finished below runs",
        (),
    )
    for number in range(10):
        folder = tmp_path / f"runs/digits/seed{number}"
        folder.mkdir(parents=True)
        (folder / "result.json").touch()
        os.utime(folder / "result.json", (number, number))
    (tmp_path / "runs/digits/unfinished").mkdir()
    first, runs = without_words(command)
    assert first == "say run=DIR; finished below runs, the newest 8 of 10:"
    assert runs == [f"  runs/digits/seed{number}" for number in range(9, 1, -1)]


def test_the_answer_goes_to_stderr_with_exit_code_2(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["train.py"])
    with pytest.raises(SystemExit) as ended:
        run_app(None, "train")
    said = capsys.readouterr()
    assert (ended.value.code, said.out) == (2, "")
    assert said.err.count("\n") == 8
    assert said.err.startswith("train.py: say what to train;")


@pytest.mark.parametrize("command", ["table", "cost", "speed"])
def test_a_command_that_needs_no_word_runs(command):
    assert without_words(command) is None
