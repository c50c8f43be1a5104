"""All files of a table, written into one folder."""

from pathlib import Path

from report.formats.html import html
from report.formats.latex import latex
from report.formats.plots import draw
from report.formats.tensorboard import write_board
from report.formats.text import markdown, spreadsheet
from report.table import Table


def write(table: Table, folder: Path, command: str) -> list[Path]:
    """index.html, table.md, .csv and .tex, and the plots; the page first in what is returned.

    `folder/board` is for TensorBoard: the mean curves of each row.
    """
    folder.mkdir(parents=True, exist_ok=True)
    texts = {
        "index.html": html(table, command),
        "table.md": markdown(table),
        "table.csv": spreadsheet(table),
        "table.tex": latex(table),
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    several = len(table.comparisons) > 1
    for comparison in table.comparisons:
        rows = {row.name: [record["path"] for record in row.records] for row in comparison.rows}
        write_board(rows, folder / "board" / (comparison.title if several else ""))
    return [folder / name for name in texts] + draw(table, folder)
