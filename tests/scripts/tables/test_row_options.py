"""Which value wins if table, row and command line set the same option."""

from pathlib import Path

import pytest
from hydra import initialize_config_dir

from scripts.tables.plan import plan_sections

CONF = Path(__file__).parents[3] / "conf"
SETTINGS = {"data": "digits", "model": "resnet20", "recipe": "digits", "recipe.epochs": 4}
ROWS = {
    "none": "attn=none",
    "long": "attn=se attn.reduction=4 recipe.epochs=9",
    "deep": "attn=se model=resnet32",
}


@pytest.fixture(autouse=True)
def _hydra(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def planned(said):
    """{row: its run}, with these options of the command line."""
    (section,) = plan_sections({"settings": SETTINGS, "rows": ROWS}, said, [0])
    return {name: runs[0] for name, runs in section.rows.items()}


def test_a_row_is_obeyed_above_the_settings_of_its_table():
    runs = planned({})
    assert {name: run.epochs for name, run in runs.items()} == {"none": 4, "long": 9, "deep": 4}
    models = {name: run.folder.config["model"]["_target_"] for name, run in runs.items()}
    assert models == {
        "none": "models.resnet20", "long": "models.resnet20", "deep": "models.resnet32",
    }  # fmt: skip


def test_the_command_line_is_obeyed_above_a_row():
    runs = planned({"recipe.epochs": "2", "attn.reduction": "8", "attn": "long,deep"})
    assert {name: run.epochs for name, run in runs.items()} == {"long": 2, "deep": 2}
    reductions = {run.folder.config["model"]["slots"]["attn"]["reduction"] for run in runs.values()}
    assert reductions == {8}


def test_a_row_keeps_the_network_that_it_is_named_for():
    runs = planned({"model": "resnet56"})
    models = {name: run.folder.config["model"]["_target_"] for name, run in runs.items()}
    assert models == {
        "none": "models.resnet56", "long": "models.resnet56", "deep": "models.resnet32",
    }  # fmt: skip
