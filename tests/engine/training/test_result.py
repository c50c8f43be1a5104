"""`finish` writes the last epoch, the best epoch beside it, and the measured weights."""

import json

import pytest
from safetensors.torch import load_file

from engine.storage.run_dir import RunDir
from engine.training.loop import train_epoch
from engine.training.result import finish
from engine.transforms.normalize import Normalize


def row(top1):
    return {"test.top1": top1, "test.top5": top1 + 20}


FIRST, BEST, LAST = row(30.0), row(50.0), row(40.0)


@pytest.fixture
def finished(new_run, images, tmp_path):
    """Finish a run of one epoch with these rows: the run, its result, its weights."""

    def make(rows, **options):
        run = new_run(**options)
        train_epoch(run, images, Normalize("cifar100"), lambda: None)
        folder = RunDir(tmp_path, {"data": {"image_size": 8}}, {"attn": "nam", "seed": 0})
        result = finish(run, folder, rows)
        assert json.loads((tmp_path / "result.json").read_text()) == result
        return run, result, load_file(tmp_path / "weights.safetensors")

    return make


def equal(weights, model):
    state = model.state_dict()
    return state.keys() == weights.keys() and all(weights[k].equal(state[k]) for k in state)


def test_the_accuracy_of_a_run_is_the_accuracy_after_its_last_epoch(finished):
    _, result, _ = finished([FIRST, BEST, LAST])
    assert (result["top1"], result["top5"]) == (40.0, 60.0)


def test_the_best_epoch_is_set_beside_the_last_one(finished):
    assert finished([FIRST, BEST, LAST])[1]["best_top1"] == 50.0
    assert finished([BEST, FIRST])[1]["best_top1"] == 50.0


def test_there_is_no_best_epoch_where_only_the_last_one_was_measured(finished):
    assert finished([{"val.top1": 60.0}, LAST])[1]["best_top1"] is None


def test_the_average_of_the_weights_is_saved_where_there_is_one(finished):
    run, result, weights = finished([LAST], ema=0.9)
    assert equal(weights, run.average.model)
    assert not equal(weights, run.model)
    assert result["ema"] == 0.9


def test_the_trained_weights_are_saved_where_there_is_no_average(finished):
    run, result, weights = finished([LAST])
    assert equal(weights, run.model)
    assert result["ema"] is None
