"""Blocks as HTML: everything is escaped, nothing is outside the page."""

import base64
from html.parser import HTMLParser

from lightning_langcore.reports.blocks import (
    BulletList,
    Column,
    Heading,
    Page,
    Paragraph,
    Picture,
    Section,
    Style,
    Text,
    cell,
    number_columns,
    table,
    text_column,
)
from lightning_langcore.reports.html import render

EVIL = """<script>alert("1")</script>&amp;'"""


class Tags(HTMLParser):
    """Tags with their attributes, and all text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def page_with(*blocks):
    return render(Page("title", (Section("section", blocks),)))


def test_text_is_escaped_wherever_it_stands():
    lines = [Text(EVIL, style) for style in Style]
    everything = table([Column(cell(EVIL))], [[cell(*lines)], [Text(EVIL, link=EVIL)]], title=EVIL, caption=EVIL)
    blocks = [Heading(EVIL), Paragraph(EVIL), Paragraph(EVIL, is_warning=True), BulletList((EVIL,)), everything]
    html = render(Page(EVIL, (Section(EVIL, (*blocks, Picture(EVIL, b"png"))),)))
    assert "<script" not in html
    page = Tags(html)
    assert not {"script", "link", "iframe"} & {tag for tag, _ in page.tags}
    # title twice, section, heading, two paragraphs, item, table's title, caption and head, the cells
    assert page.text.count(EVIL) == 10 + len(Style) + 1
    assert [attrs["href"] for tag, attrs in page.tags if tag == "a"] == [EVIL]
    assert [attrs["alt"] for tag, attrs in page.tags if tag == "img"] == [EVIL]


def test_pictures_are_inside_the_page():
    (source,) = [attrs["src"] for tag, attrs in Tags(page_with(Picture("p", b"\x89PNG\xff"))).tags if tag == "img"]
    assert base64.b64decode(source.removeprefix("data:image/png;base64,")) == b"\x89PNG\xff"


def test_cells_hold_their_text_alone():
    columns = [text_column("a"), *number_columns(("b",))]
    html = page_with(table(columns, [["x", cell("1", Text("× 2", Style.SMALL))], [Text("y", Style.BAD), ""]]))
    assert '<td class="text">x</td>' in html
    assert '<td class="number">1<br><span class="small">× 2</span></td>' in html
    assert '<td class="text"><span class="bad">y</span></td>' in html
    assert '<td class="number"></td>' in html


def test_a_group_is_named_once_and_a_long_table_is_closed():
    rows = [["zh", "1"], ["zh", "2"], ["en", "2"]]
    html = page_with(table([text_column("lang"), text_column("n")], rows, grouped_by=1, collapsed=True))
    assert html.count('<td class="text">zh</td>') == 1
    assert html.count('<tr class="group">') == 2
    assert "<details><summary>3 rows</summary>" in html
