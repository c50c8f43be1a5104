import json
import subprocess
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

from report.formats.tensorboard import write_board


@pytest.fixture
def table(tmp_path):
    """Two rows: one with two runs, of three and two epochs; one with a single run."""
    values = {"se": ([10.0, 20.0, 30.0], [20.0, 40.0]), "none": ([5.0, 6.0],)}
    rows = {}
    for name, seeds in values.items():
        rows[name] = [tmp_path / name / f"seed{seed}" for seed in range(len(seeds))]
        for folder, logged in zip(rows[name], seeds, strict=True):
            folder.mkdir(parents=True)
            lines = [
                {"epoch": epoch, "train.lr": 0.1, "train.loss": 1.0, "test.top1": value}
                for epoch, value in enumerate(logged, 1)
            ]
            (folder / "metrics.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return rows


def read(out, row):
    return EventAccumulator(str(out / row / "mean")).Reload()


def points(board, tag):
    return [(event.step, pytest.approx(event.value, abs=1e-5)) for event in board.Scalars(tag)]


def test_a_row_is_a_run_of_the_mean_and_its_band(table, tmp_path):
    write_board(table, tmp_path / "out")
    board = read(tmp_path / "out", "se")
    spread = [50**0.5, 200**0.5]
    assert points(board, "test/top1") == [(1, 15.0), (2, 30.0)]
    lower, upper = (points(board, f"within_std/test/top1/{end}") for end in ("lower", "upper"))
    assert lower == [(1, 15.0 - spread[0]), (2, 30.0 - spread[1])]
    assert upper == [(1, 15.0 + spread[0]), (2, 30.0 + spread[1])]
    (text,) = board.Tensors("seeds")[0].tensor_proto.string_val
    assert text.decode().startswith("mean of 2 runs\n\n- ")


def test_one_run_has_a_band_without_width(table, tmp_path):
    write_board(table, tmp_path / "out")
    board = read(tmp_path / "out", "none")
    for tag in ("test/top1", "within_std/test/top1/lower", "within_std/test/top1/upper"):
        assert points(board, tag) == [(1, 5.0), (2, 6.0)]


def test_the_layout_names_tags_that_are_there(table, tmp_path):
    write_board(table, tmp_path / "out")
    board = read(tmp_path / "out", "se")
    (content,) = board.Tensors("custom_scalars__config__")[0].tensor_proto.string_val
    bands, means = Layout.FromString(content).category
    series = [chart.margin.series[0] for chart in bands.chart]
    named = [tag for s in series for tag in (s.value, s.lower, s.upper)]
    assert sorted(named) == sorted(board.Tags()["scalars"])
    assert [chart.multiline.tag[0] for chart in means.chart] == ["train/loss$", "test/top1$"]


def test_written_again_it_is_replaced_and_nothing_else_is(table, tmp_path):
    out = tmp_path / "out"
    write_board(table, out)
    foreign = out / "se/mean/events.out.tfevents.1.else"
    foreign.touch()
    write_board({"se": table["se"][:1]}, out)
    assert points(read(out, "se"), "test/top1") == [(1, 10.0), (2, 20.0), (3, 30.0)]
    assert foreign.exists()
    assert list((out / "none/mean").iterdir()) == []  # a removed row is not shown
    assert len(list((out / "se/mean").iterdir())) == 2


def test_runs_that_have_logged_nothing_are_no_row(tmp_path):
    write_board({"se": [tmp_path / "begun"]}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["..", "", ".", "../se", "a/b", "/tmp"])
def test_a_row_that_is_no_folder_is_refused_before_anything_is_written(table, tmp_path, name):
    with pytest.raises(ValueError, match="cannot be the name of a folder"):
        write_board({"se": table["se"], name: []}, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_neither_torch_nor_tensorflow_is_imported():
    modules = "{'torch', 'tensorflow'} & sys.modules.keys()"
    code = f"import sys, report.formats.tensorboard; assert not {modules}"
    subprocess.run([sys.executable, "-c", code], check=True)
