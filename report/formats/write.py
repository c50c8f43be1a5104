"""All files of a table, written into one folder."""

from pathlib import Path

from report.formats.html import html
from report.formats.latex import latex
from report.formats.plots import draw
from report.formats.tensorboard import write_board
from report.formats.text import markdown, spreadsheet
from report.table import Table
from report.writing import write_text

LONGEST = 120  # characters of a folder name; file systems allow 255 bytes


def folder_name(text: str) -> str:
    """`text` as the name of one folder: other characters become _, and the name is not hidden."""
    name = "".join(c if c.isalnum() or c in " ,.=+-_[]()" else "_" for c in text)
    return name.strip(" .")[:LONGEST] or "_"


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
        write_text(folder / name, text)
    several = len(table.comparisons) > 1
    for comparison in table.comparisons:
        rows: dict[str, list[Path]] = {}
        for row in comparison.rows:
            rows.setdefault(folder_name(row.name), []).extend(r["path"] for r in row.records)
        write_board(rows, folder / "board" / (folder_name(comparison.title) if several else ""))
    return [folder / name for name in texts] + draw(table, folder)
