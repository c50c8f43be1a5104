"""`scripts/gpu.py` refuses a machine without a GPU, and keeps what it measured on a GPU."""

import pytest
import torch
from hydra import initialize_config_dir

from report.speed import Speed, in_json
from scripts import gpu
from scripts.benchmarks.grid import OWN, combinations
from scripts.cli.overrides import CONF, split_words
from tests.report.formats.test_gpu_table import SETTING, TIMES, rows


def test_without_a_gpu_one_line_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu.main() == 2
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert "torch finds no CUDA GPU here" in captured.err


@pytest.mark.parametrize("name", gpu.SPEED)
def test_every_measurement_names_options_that_exist(name):
    words = [word for word in gpu.speed_command(name)[1:] if "=" in word]
    own, overrides = split_words(words, OWN)
    assert "to=speed/gpu/" + name in own
    with initialize_config_dir(str(CONF), version_base="1.3"):
        chosen = combinations(overrides, None)
        for combination in chosen:
            combination.compose(batch_size=128)
    assert len(chosen) >= 12


@pytest.fixture
def on_gpu(monkeypatch, tmp_path):
    """`on_gpu(failing)`: the exit code on a GPU where the command with this word fails."""

    def run(failing=None):
        def python(*words):
            folder = next((word[3:] for word in words if word.startswith("to=")), None)
            if folder and failing not in folder.split("/"):
                (tmp_path / folder).mkdir(parents=True)
                speed = Speed(rows(), TIMES, TIMES, dict.fromkeys(TIMES, 1), {}, SETTING)
                (tmp_path / folder / "speed.json").write_text(in_json(speed))
            return failing not in (folder or "tests").split("/")

        monkeypatch.setattr(gpu, "python", python)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.chdir(tmp_path)
        return gpu.main()

    return run


def test_the_five_lines_are_printed_and_kept(on_gpu, capsys, tmp_path):
    assert on_gpu() == 0
    text = (tmp_path / "speed/gpu/gpu.md").read_text()
    assert text in capsys.readouterr().out
    assert len([line for line in text.splitlines() if line.startswith("|")]) == 2 + 5


@pytest.mark.parametrize("failing", ["tests", "networks"])
def test_what_failed_is_named_and_the_lines_are_kept(on_gpu, capsys, tmp_path, failing):
    assert on_gpu(failing) == 1
    assert capsys.readouterr().err == f"failed: {failing}\n"
    assert (tmp_path / "speed/gpu/gpu.md").is_file()


def test_lines_of_an_earlier_measurement_are_not_told_again(on_gpu, capsys, tmp_path):
    (tmp_path / "speed/gpu/loop").mkdir(parents=True)
    (tmp_path / "speed/gpu/loop/speed.json").write_text("stale")
    assert on_gpu("loop") == 1
    assert capsys.readouterr().out == ""
