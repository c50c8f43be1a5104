from dataclasses import replace
from pathlib import Path

import pytest

from report.formats.write import write
from report.table import Table


def test_a_folder_holds_the_page_the_texts_the_plots_and_the_curves(compared, tmp_path):
    written = write(Table("t", compared), tmp_path / "out", "the command")
    assert written[0].name == "index.html"
    assert {"table.md", "table.csv", "table.tex", "forest.svg"} <= {file.name for file in written}
    boards = {file.relative_to(tmp_path / "out/board").parts[0] for file in _events(tmp_path)}
    assert boards == {"none", "se", "nam"}


def test_several_comparisons_have_a_folder_each_for_tensorboard(compared, tmp_path):
    write(Table("t", [*compared, *compared]), tmp_path, "the command")
    (board,) = (tmp_path / "board").iterdir()
    assert board.name == compared[0].title


def _events(folder):
    return (folder / "out").rglob("events.*")


HOSTILE = [
    "/tmp/EVIL/x", "../../x", "a,/../../x", "..", ".", "", "x" * 400, "a\x00b", "two\nlines",
    r"$\foo$", "_hidden",
]  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_of_a_stranger_leaves_the_folder_of_the_table(compared, tmp_path, name):
    """Titles and rows contain strings of result.json."""
    (first,) = compared
    rows = [replace(row, name=name if row.name == "se" else row.name) for row in first.rows]
    table = Table("t", [replace(first, title=name, rows=rows), first])
    before = {file for file in tmp_path.rglob("*") if file.is_file()}
    write(table, tmp_path / "deep" / "out", "the command")
    written = {file for file in tmp_path.rglob("*") if file.is_file()} - before
    assert all((tmp_path / "deep" / "out") in file.resolve().parents for file in written)
    assert not Path("/tmp/EVIL").exists()
    assert len(list((tmp_path / "deep/out/board").iterdir())) == 2
