import json
import math

import numpy as np
import pytest

from report.curves import curves, rows


@pytest.fixture
def run(tmp_path):
    """Make the folder of a run that logged these values of test.top1, from epoch 1 on."""

    def make(name, values, key="test.top1"):
        folder = tmp_path / name
        folder.mkdir()
        lines = [json.dumps({"epoch": e, key: v}) + "\n" for e, v in enumerate(values, 1)]
        (folder / "metrics.jsonl").write_text("".join(lines))
        return folder

    return make


def test_mean_and_sample_deviation_epoch_by_epoch(run):
    curve = curves(
        [run("a", [1.0, 10.0]), run("b", [2.0, 10.0]), run("c", [6.0, 40.0])], "test.top1"
    )
    assert curve.epochs.tolist() == [1, 2]
    assert curve.mean.tolist() == [3.0, 20.0]
    assert curve.std.tolist() == pytest.approx([math.sqrt(7), math.sqrt(300)], abs=1e-12)
    assert curve.n == 3


def test_only_the_epochs_that_all_have(run):
    curve = curves([run("a", [1.0, 2.0, 3.0]), run("b", [3.0, 4.0])], "test.top1")
    assert (curve.epochs.tolist(), curve.mean.tolist()) == ([1, 2], [2.0, 3.0])


def test_a_run_that_has_not_logged_it_is_not_counted(run, tmp_path):
    begun = [run("a", []), run("b", [7.0], key="val.top1"), tmp_path / "nowhere"]
    curve = curves([run("c", [1.0, 2.0]), *begun], "test.top1")
    assert (curve.n, curve.mean.tolist()) == (1, [1.0, 2.0])
    assert np.isnan(curve.std).all()
    nothing = curves(begun, "test.top1")
    assert (nothing.n, len(nothing.epochs), len(nothing.mean), len(nothing.std)) == (0, 0, 0, 0)


def test_a_line_torn_off_is_left_out(run):
    folder = run("a", [1.0])
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "test.to')
    assert rows(folder) == [{"epoch": 1, "test.top1": 1.0}]
