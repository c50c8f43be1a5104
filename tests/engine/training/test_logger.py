import json
import os

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from engine.errors import ConfigError
from engine.storage.run_dir import RunDir
from engine.training.gate_stats import GateStatistics
from engine.training.logger import RunLogger, _line

PASS = {"lr": 0.1, "loss": 2.0, "top1": 10.0, "top5": 30.0}
SEEN = GateStatistics({"8x8": [torch.tensor([0.25, 0.75])]}, {("8x8", "layer1"): {"fc": 0.5}})
GATES = {"gate/8x8/mean": 0.5, "gate/8x8/std": 0.25, "decision/fc/8x8": 0.5}


@pytest.fixture
def folder(tmp_path):
    labels = {"data": "digits", "model": "resnet20", "attn": "nam", "seed": 0}
    return RunDir(
        tmp_path, {"recipe": {"lr": 0.1, "milestones": [1, 2]}, "data": {"image_size": 8}}, labels
    )


def epochs(folder, run, numbers):
    """Log these epochs, as a process that is killed afterwards."""
    run.epoch = numbers[0]
    log = RunLogger(folder, run)
    for run.epoch in numbers:
        log.epoch(run, {"train": PASS, "test": PASS | {"top1": 10.0 + run.epoch}})
        log.attention(run, SEEN)
    log.board.flush()
    return log


def measured(board):
    """The metrics beside the hparams, with their last values in the run."""
    content = board.PluginTagToContent("hparams")["_hparams_/experiment"]
    metrics = HParamsPluginData.FromString(content).experiment.metric_infos
    return {m.name.tag: board.Scalars(m.name.tag)[-1].value for m in metrics}


@pytest.fixture
def run(new_run):
    run = new_run()
    run.seconds, run.images = 2.0, 100
    return run


def test_a_resumed_run_has_no_doubled_steps(folder, run, tmp_path):
    epochs(folder, run, [0, 1, 2])  # killed after logging epoch 3; the checkpoint is of epoch 1
    epochs(folder, run, [1, 2, 3]).board.close()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4]
    board = EventAccumulator(str(tmp_path)).Reload()
    points = [(event.step, event.value) for event in board.Scalars("test/top1")]
    assert points == [(1, 10.0), (2, 11.0), (3, 12.0), (4, 13.0)]
    for tag, value in GATES.items():
        assert [(e.step, e.value) for e in board.Scalars(tag)] == [(s, value) for s in range(1, 5)]
    pictures = board.Images("decision/layer by layer: fc")
    assert [picture.step for picture in pictures] == [1, 2, 3, 4]
    assert len(board.Tensors("custom_scalars__config__")) == 1
    assert set(measured(board)) == {"test/top1", "test/top5", "test/best_top1"}


def test_an_attempt_that_came_to_nothing_is_not_shown(folder, run, tmp_path):
    epochs(folder, run, [0])
    epochs(folder, run, [0]).board.close()
    board = EventAccumulator(str(tmp_path)).Reload()
    assert [event.step for event in board.Scalars("test/top1")] == [1]
    assert len(list(tmp_path.glob("events.out.*"))) == 1


def test_the_line_of_an_epoch_is_on_disk_before_its_checkpoint(folder, run, tmp_path, monkeypatch):
    """After a power cut, a checkpoint without its epoch's line would be refused."""
    path, lines, fsync = tmp_path / "metrics.jsonl", [], os.fsync

    def note(descriptor):
        if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
            lines.append(path.read_text().count("\n"))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    epochs(folder, run, [0, 1]).board.close()
    assert lines == [1, 2]


def test_a_torn_line_is_dropped(folder, run, tmp_path):
    epochs(folder, run, [0]).board.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "tra')
    run.epoch = 1
    assert [row["epoch"] for row in RunLogger(folder, run).rows] == [1]


@pytest.mark.parametrize("left", ["", '{"epoch": 1}\n', '{"epoch": 1}\n{"epo#h": 2}\n', "[1]\n"])
def test_a_log_that_lacks_epochs_is_refused_not_made_up(folder, run, tmp_path, left):
    (tmp_path / "metrics.jsonl").write_text(left)
    run.epoch = 2
    with pytest.raises(ConfigError, match="lacks epochs that the checkpoint has"):
        RunLogger(folder, run)
    assert (tmp_path / "metrics.jsonl").read_text() == left


def test_tensorboard_has_scalars_config_and_hparams_in_one_run(folder, run, tmp_path):
    epochs(folder, run, [0, 1]).board.close()
    assert [path for path in tmp_path.rglob("*") if path.is_dir()] == []
    board = EventAccumulator(str(tmp_path)).Reload()
    names = {f"{split}/{name}" for split in ("train", "test") for name in PASS}
    others = {"train/images_per_second", "test/best_top1", *GATES}
    assert set(board.Tags()["scalars"]) == names | others
    assert board.Scalars("train/images_per_second")[0].value == 50
    text = board.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "| `recipe.lr` | 0.1 |" in text
    assert "_hparams_/session_start_info" in board.PluginTagToContent("hparams")


def test_tensorboard_can_sort_runs_by_cost_and_by_rate(folder, run, tmp_path):
    RunLogger(folder, run).board.close()
    board = EventAccumulator(str(tmp_path)).Reload()
    content = board.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    found = HParamsPluginData.FromString(content).session_start_info.hparams
    numbers = {name: found[name].number_value for name in ("lr", "epochs", "params", "macs")}
    macs = 4 * 4 * 8 * 3 * 3 * 3 + 32 * 3  # the convolution, the classifier
    assert numbers == {"lr": 0.1, "epochs": 3, "params": 224 + 16 + 99, "macs": macs}


def test_hparams_have_the_last_epoch_and_the_best_beside_them(folder, run, tmp_path):
    log = RunLogger(folder, run)
    for run.epoch, top1 in enumerate([10.0, 50.0, 40.0]):
        log.epoch(run, {"train": PASS, "test": PASS | {"top1": top1}})
    log.board.close()
    board = EventAccumulator(str(tmp_path)).Reload()
    expected = {"test/top1": 40.0, "test/top5": 30.0, "test/best_top1": 50.0}
    assert measured(board) == expected


def test_where_the_test_set_was_looked_at_once_there_is_no_best_epoch(folder, run, tmp_path):
    log = RunLogger(folder, run)
    log.epoch(run, {"train": PASS, "val": PASS})
    run.epoch = 1
    log.epoch(run, {"train": PASS, "val": PASS, "test": PASS})
    log.board.close()
    board = EventAccumulator(str(tmp_path)).Reload()
    assert "test/best_top1" not in board.Tags()["scalars"]


def test_of_a_plain_network_no_gates_are_shown(folder, run, tmp_path):
    log = RunLogger(folder, run)
    log.attention(run, GateStatistics())
    log.board.close()
    tags = EventAccumulator(str(tmp_path)).Reload().Tags()
    assert (tags["scalars"], tags["images"]) == ([], [])
    assert "custom_scalars__config__" not in tags["tensors"]


def test_runs_that_share_a_terminal_say_whose_line_it_is(folder, run, monkeypatch, capsys):
    epochs(folder, run, [0]).board.close()
    assert capsys.readouterr().out.splitlines()[-1].startswith("epoch   1/")
    monkeypatch.setattr("multiprocessing.parent_process", object)
    epochs(folder, run, [0]).board.close()
    assert capsys.readouterr().out.splitlines()[-1].startswith("resnet20 nam seed 0  epoch   1/")


@pytest.mark.parametrize(
    "whose", ["", "resnet20 nam seed 0  ", "mobilenet_v3_small shuffle seed 10  "]
)
@pytest.mark.parametrize("ema", [None, 0.9])
@pytest.mark.parametrize("top1", [1.0, 11.01, 100.0])
def test_the_line_of_an_epoch_fits_the_terminal(new_run, whose, ema, top1):
    run = new_run(epochs=200, ema=ema)
    run.seconds, run.images = 1.0, 12_345
    row = {f"{split}.{key}": top1 for split in ("train", "test") for key in ("top1", "top5")}
    line = _line(whose, row | {"epoch": 200, "train.lr": 0.1, "train.loss": 4.0761}, run)
    assert len(line) <= 80
    assert line.startswith(f"{whose}epoch 200/200  ")
    assert f"{top1:5.2f} %" in line


def test_a_plain_line_says_rate_loss_both_accuracies_and_pace(run):
    row = {"epoch": 3, "train.lr": 0.016, "train.loss": 4.0761, "train.top1": 7.09}
    line = _line("", row | {"test.top1": 11.01, "test.top5": 33.27}, run)
    assert line == "epoch   3/3  lr 0.0160  loss 4.076  train  7.09 %  test 11.01 %  50 img/s"
