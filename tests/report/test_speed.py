"""Ratios, tables and files from known times."""

import csv
import io
import json
from dataclasses import replace

import pytest

from report.formats.speed_table import bars, markdown, write
from report.speed import RATIOS, Ratio, Speed, SpeedRow, from_json, in_json, numbers, spreadsheet

CHOSEN = {
    "model": "r",
    "precision": "bf16",
    "mode": "channels_last",
    "device": "cpu",
    "attn": "nam",
}


@pytest.fixture
def speed():
    """A plain network; NAM, slow in the second round; and NAM's published form."""
    rows = [
        SpeedRow(
            "none", CHOSEN | {"attn": "none"}, macs=100, arithmetic="product", loader="memory"
        ),
        SpeedRow("nam", CHOSEN, "none", "published", 100, "convs", "product", "memory"),
        SpeedRow("published", CHOSEN | {"precision": "fp32", "mode": "published"}),
    ]
    train = {
        "none": [1.0, 2.0, 1.0], "nam": [1.1, 8.0, 1.2], "published": [3.3, 8.0, 4.8],
        "convs": [0.5, 1.0, 0.5], "product": [0.005, 0.01, 0.004], "memory": [0.1, 0.2, 0.1],
        "usual": [2.0, 2.0, 1.5],
    }  # fmt: skip
    infer = {name: [t / 2 for t in times] for name, times in train.items()}
    setting = {
        "what": "networks", "against": "published", "batch_size": 4, "rounds": 3, "steps": 1,
        "machine": "abacus", "torch": "2", "revision": "abc",
    }  # fmt: skip
    memory = {"none": 2**20, "nam": 2**21, "published": 2**22}
    return Speed(rows, train, infer, memory, {"memory": "usual"}, setting)


def test_times_of_the_same_round_are_divided(speed):
    found = numbers(speed, speed.rows[1])
    assert found["train_over_plain"] == Ratio(pytest.approx(1.2), pytest.approx(1.1), 4.0)
    assert found["train_speedup"] == Ratio(pytest.approx(3.0), 1.0, 4.0)
    assert found["infer_over_convolutions"].median == pytest.approx(2.4)
    assert found["train_loader_share"].high == pytest.approx(1 / 11)
    assert found["train_images_per_second"] == pytest.approx(1 / 1.2)
    assert (found["memory_mb"], found["memory_ratio"]) == (2, 2)


def test_the_floor_is_the_time_for_the_networks_multiply_accumulates(speed):
    found = numbers(speed, speed.rows[0])
    assert found["train_over_arithmetic"].median == pytest.approx(2)  # 1 / (100 * 0.005)
    assert found["train_over_arithmetic"].high == pytest.approx(2.5)
    assert found["train_gflops"] == pytest.approx(600e-9)
    assert found["infer_gflops"] == pytest.approx(400e-9)


def test_what_was_not_measured_is_none(speed):
    found = numbers(speed, speed.rows[2])
    assert {found[f"train_{ratio}"] for ratio in RATIOS} == {None}
    assert found["train_gflops"] is found["memory_ratio"] is None


def test_the_csv_has_all_of_it_in_columns_that_never_change(speed):
    lines = list(csv.DictReader(io.StringIO(spreadsheet(speed))))
    assert [line["attn"] for line in lines] == ["none", "nam", "nam"]
    assert float(lines[1]["train_over_plain_max"]) == 4
    assert lines[0]["train_over_plain"] == ""
    ends = ("", "_min", "_max")
    columns = {f"{k}_{r}{end}" for k in ("train", "infer") for r in RATIOS for end in ends}
    columns |= {f"{k}_{n}" for k in ("train", "infer") for n in ("images_per_second", "gflops")}
    columns |= {"memory_mb", "memory_ratio", "epoch_beside_seconds", "checkpoint_seconds"}
    assert set(lines[0]) == columns | {*CHOSEN, *speed.setting}


def test_tables_show_what_differs_and_what_was_measured(speed):
    text = markdown(speed)
    assert "× as fast as published fp32" in text
    assert "| r     | bf16      | channels_last | nam  | 0.8      | 1.200 [1.100, 4.000] |" in text
    assert "device" not in text
    assert "plain loop" not in text
    assert "median [range] over 3 rounds of 1 steps, batch 4, interleaved; abacus" in text
    assert "product: 1 GFLOP/s" not in text
    assert "with PIL in a worker: 2000000.0 µs, 15.0 [10.0, 20.0] times as long" in text
    assert "beside its steps" not in text
    assert "lower bounds" not in markdown(replace(speed, rows=[speed.rows[2]]))


def test_a_bar_for_each_ratio_from_its_least_to_its_most(speed):
    (axis,) = bars(speed).axes
    assert [patch.get_height() for patch in axis.patches] == [pytest.approx(1.2)]
    (ends,) = [line.get_segments()[0][:, 1] for line in axis.collections]
    assert list(ends) == pytest.approx([1.1, 4.0])


def test_without_a_plain_network_the_bars_say_how_much_faster(speed):
    rows = [replace(row, plain=None) for row in speed.rows[1:]]
    (axis,) = bars(replace(speed, rows=rows)).axes
    assert axis.get_ylabel() == "× as fast as published fp32"
    assert [patch.get_height() for patch in axis.patches] == [pytest.approx(3.0)]


def test_everything_is_written_and_every_time_kept(speed, tmp_path):
    written = write(speed, tmp_path / "out")
    assert {path.suffix for path in written} == {".md", ".csv", ".json", ".svg", ".pdf"}
    assert all(path.stat().st_size for path in written)
    kept = json.loads((tmp_path / "out/speed.json").read_text())
    assert kept == json.loads(in_json(speed))
    assert kept["train"]["nam"] == [1.1, 8.0, 1.2]
    assert from_json((tmp_path / "out/speed.json").read_text()) == speed


def test_an_epoch_without_steps_is_told_in_seconds(speed):
    row = replace(speed.rows[0], beside="usual")
    assert numbers(speed, row)["epoch_beside_seconds"] == 2.0
    assert numbers(speed, row)["checkpoint_seconds"] == 1.0
    assert "| 2.0000 " in markdown(replace(speed, rows=[row, *speed.rows[1:]]))
