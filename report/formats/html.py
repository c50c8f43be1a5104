"""A table as one HTML page that needs nothing else: no script, no file beside it, no network."""

import base64
import re
from collections.abc import Iterable, Sequence
from datetime import date
from html import escape

from matplotlib.figure import Figure

from report.cells import TableBlock, accuracy, blocks, elsewhere
from report.formats.plots import PLOTS, svg
from report.headline import headline
from report.recommendation import recommendation
from report.table import Comparison, Table

STYLE = """
:root { color-scheme: light; --line: #d8dde3; --soft: #f5f7f9; --gain: #1b7837; --loss: #b2182b }
* { box-sizing: border-box }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c2126; margin: 0 auto; max-width: 72rem;
  padding: 1rem clamp(.8rem, 3vw, 2.5rem) 3rem }
h1, h2 { overflow-wrap: anywhere }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .6rem 0 }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; padding-top: .6rem;
  border-top: 2px solid var(--line) }
h3 { font-size: .95rem; font-weight: 600; color: #56606b; margin: 1.2rem 0 .3rem }
.scroll { overflow-x: auto; -webkit-overflow-scrolling: touch }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .88rem }
th, td { padding: .3rem .7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line) }
thead th { color: #56606b; font-weight: 600; vertical-align: bottom }
th:first-child { text-align: left; position: sticky; left: 0; background: #fff }
.wide::after { content: "the table scrolls sideways →"; display: none; color: #56606b;
  font-size: .8rem }
@media (max-width: 48rem) { .wide::after { display: block } th, td { padding: .3rem .45rem } }
tbody tr:hover > * { background: var(--soft) }
.gain { color: var(--gain); font-weight: 600 } .loss { color: var(--loss); font-weight: 600 }
.answer { border-left: .25rem solid #56606b; padding-left: .7rem }
.note, .remarks { font-size: .85rem; color: #56606b; overflow-wrap: anywhere }
.remarks { padding-left: 1.1rem } .note { margin: .3rem 0 }
figure { margin: 1.2rem 0 } figure img { width: 100%; max-width: 44rem; height: auto }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 20rem), 1fr));
  gap: 0 2rem; align-items: start }
code { font-size: .85rem; background: var(--soft); padding: .1rem .3rem; overflow-wrap: anywhere }
"""
TEXTS = ("table.md", "table.csv", "table.tex")
READING = (
    "top-1: test accuracy after the last epoch, never the best one. "
    "vs: the difference to the baseline in points of accuracy, with an interval. The intervals of "
    "all rows of this page hold together with probability 95 %. "
    "Verdict: gain or loss if the interval does not contain 0. If no module had an effect, at most "
    "5 % of such pages would show a gain or a loss anywhere. "
    "p: the smallest error probability of the page at which the row would still be a gain or a "
    "loss. Resolvable: a difference must be larger than this to become a verdict; more seeds make "
    "this number smaller. Selection: the points that a choice of each run's best epoch on the test "
    "set would add. MACs: convolutions and matrix products for one image."
)
TESTS = {
    "dunnett": "Test: Dunnett's, with the effects of row and seed and one spread for all rows.",
    "paired": "Test: a paired t test for each row, p adjusted by Holm; each interval holds alone.",
}


def html(table: Table, command: str) -> str:
    """The whole page; `command` is the command that makes the page again."""
    body = [f"<h1>{escape(table.title)}</h1>", _lead(table), _facts(table)]
    body += [part for comparison in table.comparisons for part in _comparison(comparison)]
    if table.only_published:
        body += ["<h2>Elsewhere</h2>", *_block(elsewhere(table.only_published))]
    if table.remarks:
        items = "".join(f"<li>{_linked(remark)}</li>" for remark in table.remarks)
        body.append(f'<h2>Remarks</h2><ul class="remarks">{items}</ul>')
    tests = " ".join(dict.fromkeys(TESTS[comparison.test] for comparison in table.comparisons))
    reading = f"{READING} {tests}".strip()
    body.append(f'<h2>How to read it</h2><p class="note">{escape(reading)}</p>')
    body.append(f'<p class="note">Made by <code>{escape(command)}</code></p>')
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(table.title)}</title><style>{STYLE}</style></head>\n"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _lead(table: Table) -> str:
    """The finding of each comparison in one sentence, and what to take."""
    found = [(c, headline(c), recommendation(c)) for c in table.comparisons]
    several = len(table.comparisons) > 1
    paragraphs = [
        f"<p><strong>{escape(f'{c.title}: {text}' if several else text)}</strong></p>"
        f'<p class="answer">{escape(answer)}</p>'
        for c, text, answer in found
        if text
    ]
    return "".join(paragraphs) or "<p>Nothing to compare yet.</p>"


def _facts(table: Table) -> str:
    """When the page was made, what the runs were made with, and the other files."""
    records = [r for c in table.comparisons for row in c.rows for r in row.records]
    made = [f"made {date.today().isoformat()}", f"{len(records)} runs"]
    for key, name in (("revision", "commit"), ("torch", "torch"), ("device", "on")):
        values = sorted({str(record[key]) for record in records if record.get(key)})
        made += [f"{name} {', '.join(values)}"] if values else []
    links = ", ".join(f'<a href="{name}">{name}</a>' for name in TEXTS)
    return f'<p class="note">{escape(" · ".join(made))} · {links}</p>'


def _comparison(comparison: Comparison) -> Iterable[str]:
    yield f"<h2>{escape(comparison.title)}</h2>"
    first, *others = blocks(comparison) or [accuracy(comparison)]
    yield from _block(first)
    figures = [_figure(name, plot([comparison])) for name, plot, fits in PLOTS if fits(comparison)]
    if figures:
        yield f'<div class="plots">{"".join(figures)}</div>'
    for block in others:
        yield from _block(block)


def _block(block: TableBlock) -> Iterable[str]:
    yield f"<h3>{escape(block.heading)}</h3>"
    head = "".join(f"<th>{escape(cell)}</th>" for cell in block.header)
    rows = "".join(f"<tr>{_cells(row)}</tr>" for row in block.rows)
    yield (
        f'<div class="wide"><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div></div>"
    )
    yield from (f'<p class="note">{_linked(note)}</p>' for note in block.notes)


def _cells(row: Sequence[str]) -> str:
    first, *rest = row
    cells = [f"<th>{escape(first)}</th>"]
    for cell in rest:
        kind = f' class="{cell}"' if cell in ("gain", "loss") else ""
        cells.append(f"<td{kind}>{escape(cell)}</td>")
    return "".join(cells)


def _linked(text: str) -> str:
    return re.sub(r"(https://[^\s<]+[^\s<.,)])", r'<a href="\1">\1</a>', escape(text))


def _figure(name: str, drawn: Figure) -> str:
    """The plot as an image: the names inside an SVG must not meet those of another SVG."""
    data = base64.b64encode(svg(drawn).encode()).decode()
    return f'<figure><img alt="{name}" src="data:image/svg+xml;base64,{data}"></figure>'
