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
