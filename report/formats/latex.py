"""A table as LaTeX, ready to be pasted: booktabs, every character escaped."""

from collections.abc import Sequence

from report.cells import accuracy, beside, cost
from report.table import Table

ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#",
        "_": r"\_", "%": r"\%", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}",
        "±": r"$\pm$", "×": r"$\times$", "<": r"$<$", ">": r"$>$", "|": r"\textbar{}",
        "−": r"$-$", "·": r"$\cdot$", "Σ": r"$\Sigma$", "σ": r"$\sigma$", "γ": r"$\gamma$",
        "α": r"$\alpha$", "λ": r"$\lambda$", "θ": r"$\theta$", "²": r"$^2$",
    }
)  # fmt: skip


def latex(table: Table) -> str:
    """A `table` environment for each part of each comparison; it needs booktabs and graphicx."""
    lines = ["% \\usepackage{booktabs,graphicx} in the preamble"]
    for comparison in table.comparisons:
        for block in (accuracy(comparison), cost(comparison), beside(comparison)):
            if block.rows:
                caption = f"{comparison.title}. {block.heading}."
                notes = [caption, *block.notes]
                lines += _environment(" ".join(notes), block.header, block.rows)
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """`text` for LaTeX; a letter that LaTeX cannot print becomes a question mark."""
    escaped = text.translate(ESCAPES)
    return "".join(c if ord(c) < 0x250 else "?" for c in escaped)


def document(table: Table) -> str:
    """A complete LaTeX document with the table."""
    return "\n".join(
        [
            r"\documentclass{article}",
            r"\usepackage[utf8]{inputenc}",
            r"\usepackage[T1]{fontenc}",
            r"\usepackage[margin=2cm]{geometry}",
            r"\usepackage{booktabs,graphicx}",
            r"\begin{document}",
            latex(table) + r"\end{document}",
            "",
        ]
    )


def _environment(caption: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(map(escape, cells)) + r" \\"

    return [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{escape(caption)}}}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        r"\toprule",
        line(header),
        r"\midrule",
        *map(line, rows),
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table}",
        "",
    ]
