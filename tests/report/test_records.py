from report.records import collect, epochs_done


def test_finished_runs_are_collected_with_their_directory(new_run, new_record, tmp_path):
    folder = new_run("a/seed0", new_record())
    (found,) = collect(tmp_path).records
    assert found == new_record() | {"path": folder}


def test_what_cannot_be_compared_is_named_with_its_reason(new_run, new_record, tmp_path):
    new_run("a/seed0", new_record())
    reasons = {
        "unfinished": ("unfinished, 2 epochs done", None),
        "half": ("cannot be read", '{"model": "resnet20", "top'),
        "foreign": ("not written by this program", {"accuracy": 0.9}),
        "list": ("not written by this program", [1, 2]),
        "older": ("no usable elements: another version wrote it", new_record(seed=2)),
        "metric": ("no usable top1", new_record(seed=3) | {"top1": "77 %"}),
        "twice": ("the same run as", new_record()),
        "other": ("another configuration with the same name", new_record() | {"config": "x"}),
    }
    del reasons["older"][1]["elements"]
    folders = {new_run(f"b/{name}", result): why for name, (why, result) in reasons.items()}
    found = collect(tmp_path)
    assert len(found.records) == 1
    assert set(found.left_out) == set(folders)
    for folder, why in folders.items():
        assert why in found.left_out[folder]


def test_a_log_that_is_not_there_has_no_epochs(tmp_path):
    assert epochs_done(tmp_path) == 0


def test_linked_folders_are_read_once_and_a_circle_of_links_ends(new_run, new_record, tmp_path):
    first = new_run("runs/none/seed0", new_record())
    second = new_run("elsewhere/se/seed0", new_record("se"))
    (tmp_path / "runs/linked").symlink_to(second.parents[1])
    (tmp_path / "runs/again").symlink_to(second.parents[1])
    (tmp_path / "runs/circle").symlink_to(tmp_path / "runs")
    found = collect(tmp_path / "runs")
    assert len(found.records) == 2
    assert found.left_out == {}
    assert {record["attn"] for record in found.records} == {"none", "se"}
    assert first in [record["path"] for record in found.records]


def test_several_folders_make_one_collection(new_run, new_record, tmp_path):
    new_run("a/seed0", new_record())
    new_run("b/seed0", new_record("se"))
    assert len(collect(tmp_path / "a", tmp_path / "b").records) == 2
