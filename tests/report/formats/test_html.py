import re
from dataclasses import replace
from html.parser import HTMLParser

from report.formats.html import html
from report.table import Table

VOID = {"meta", "img", "br", "!doctype"}


class Balanced(HTMLParser):
    """Fails if a closing tag does not match the last opened tag."""

    def __init__(self, text):
        super().__init__()
        self.open = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_needs_nothing_else(compared):
    page = html(Table("Which helps", compared, ["see https://example.org/x."]), "the command")
    Balanced(page)
    assert "<script" not in page
    assert set(re.findall(r'(?:src|href)="([^":]*:)', page)) == {"data:", "https:"}
    assert page.count("<img ") == 3
    assert '<td class="gain">gain</td>' in page
    assert '<a href="https://example.org/x">' in page
    assert "With 3 seeds, se gains 2.0 points; nam cannot be told from none" in page


def test_what_comes_from_outside_is_text(compared):
    hostile = "<script>alert(1)</script>"
    none, *others = compared[0].rows
    rows = [none, *(replace(row, name=row.name + hostile) for row in others)]
    table = Table(hostile, [replace(compared[0], rows=rows, title=hostile)], [hostile])
    assert "<script" not in html(table, hostile)


def test_a_page_without_any_run_is_still_a_page():
    assert "Nothing to compare yet" in html(Table("t", []), "the command")
