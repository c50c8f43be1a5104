import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from report.formats.latex import escape, latex
from report.published import PublishedValue
from report.table import Table, TableRow, with_published

HOSTILE = r"50 % of $x_1$ & #2 {a}^b ~ \input{/etc/passwd} <|> σ(γ) ± 1 × 2 – 漢"
PRINTED = PublishedValue(
    source=HOSTILE, url="https://example.org/a_b", protocol="best", evidence="seen", data="digits",
    note="", model="resnet20", row="se", top1=95.5,
)  # fmt: skip


@pytest.fixture
def text(compared):
    (comparison,), _ = with_published(compared, [PRINTED])
    return latex(Table("t", [replace(comparison, rows=[*comparison.rows, TableRow(HOSTILE)])]))


def test_nothing_in_a_cell_is_a_command():
    assert escape("a_b & 50 %") == r"a\_b \& 50 \%"
    assert escape("\\") == r"\textbackslash{}"
    assert "漢" not in escape(HOSTILE)
    assert r"\input" not in escape(HOSTILE)


def test_every_row_has_as_many_cells_as_the_table_has_columns(text):
    for columns, body in re.findall(r"\\begin{tabular}{(.*?)}\n(.*?)\\end{tabular}", text, re.S):
        rows = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(columns)}


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed")
def test_it_compiles(text, tmp_path):
    packages = r"\usepackage[utf8]{inputenc}\usepackage[T1]{fontenc}\usepackage{booktabs,graphicx}"
    document = rf"\documentclass{{article}}{packages}\begin{{document}}{text}\end{{document}}"
    (tmp_path / "table.tex").write_text(document)
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout[-2000:]
    assert "Overfull" not in ended.stdout
