import json

from report.collect import collect, unfinished
from report.table import HEADER, comparisons, render


def record(attn, seed, top1, **changes):
    return {
        "data": "digits", "model": "resnet20", "recipe": "digits", "other": "", "epochs": 5,
        "attn": attn, "seed": seed, "top1": top1, "params": 1000, "macs": 2_500_000,
        "images_per_second": 100.0,
    } | changes  # fmt: skip


RECORDS = [
    record("se", 0, 92.0), record("none", 0, 90.0), record("none", 1, 91.0), record("se", 1, 94.0),
    record("nam", 1, 95.0), record("se", 0, 80.0, other="attn.reduction=4"),
]  # fmt: skip


def test_a_table_has_the_baseline_first_and_then_the_best():
    (title, rows), *others = comparisons(RECORDS).items()
    assert title == "digits, resnet20, recipe digits"
    assert others == []
    assert rows == [
        ("none", "90.50 ± 0.71", "2", "", "1,000", "2.5 M", "100"),
        ("nam", "95.00", "1", "+4.00", "1,000", "2.5 M", "100"),
        ("se", "93.00 ± 1.41", "2", "+2.50 ± 0.71", "1,000", "2.5 M", "100"),
        ("se attn.reduction=4", "80.00", "1", "-10.00", "1,000", "2.5 M", "100"),
    ]


def test_networks_recipes_and_lengths_are_not_mixed():
    other = [
        record("nam", 0, 1.0, model="resnet56"),
        record("nam", 0, 1.0, other="recipe.epochs=6"),
    ]
    assert len(comparisons(RECORDS + other)) == 3


def test_markdown_is_aligned():
    lines = render(HEADER, comparisons(RECORDS).popitem()[1]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert set(lines[1]) == {"|", "-", " "}


def test_finished_runs_are_collected_and_begun_ones_named(tmp_path):
    for name, files in {
        "a/seed0": ["result.json", "config.yaml"],
        "a/seed1": ["config.yaml"],
    }.items():
        (tmp_path / name).mkdir(parents=True)
        for file in files:
            (tmp_path / name / file).write_text(json.dumps({"name": name}))
    assert collect(tmp_path) == [{"name": "a/seed0"}]
    assert unfinished(tmp_path) == [tmp_path / "a/seed1"]
