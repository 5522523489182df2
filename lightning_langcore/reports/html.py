"""The HTML that reports are made of: tables, pictures inside the page, and the page."""

import base64
import tempfile
from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template


def html_table(head: Sequence[str], rows: Iterable[Sequence[str]], kinds: str) -> str:
    """A table whose cells are HTML already; ``kinds`` has a letter a column: t for text, n for numbers."""
    top = "".join(f'<th class="{kind}">{cell}</th>' for kind, cell in zip(kinds, head, strict=True))
    body = "".join(
        "<tr>" + "".join(f'<td class="{kind}">{cell}</td>' for kind, cell in zip(kinds, row, strict=True)) + "</tr>\n"
        for row in rows
    )
    return f'<div class="wide"><table><thead><tr>{top}</tr></thead>\n<tbody>{body}</tbody></table></div>'


def picture(draw: Callable[[Path], None], what: str) -> str:
    """What ``draw`` writes into a PNG file, inside the page; ``what`` is its description."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "picture.png"
        draw(file)
        return image(file.read_bytes(), what)


def image(png: bytes, what: str) -> str:
    """A PNG inside the page."""
    data = base64.b64encode(png).decode("ascii")
    return f'<div class="wide"><img alt="{escape(what)}" src="data:image/png;base64,{data}"></div>'


PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #222; background: #fff; }
body { max-width: 70rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.6rem; }
h2 { font-size: 1.25rem; margin: 2.2rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
.wide { overflow-x: auto; margin: .6rem 0; }
table { border-collapse: collapse; font-size: .875rem; }
th, td { padding: .25rem .7rem .25rem 0; border-bottom: 1px solid #e5e5e5; vertical-align: top; }
th { border-bottom: 2px solid #999; }
th, td { white-space: nowrap; } .t { text-align: left; } .n { text-align: right; font-variant-numeric: tabular-nums; }
.error { white-space: normal; min-width: 12rem; }
img { max-width: 100%; min-width: min(100%, 40rem); height: auto; }
details summary { cursor: pointer; color: #666; }
small { color: #666; } .ok { color: #00704f; } .bad { color: #b33c00; }
.warn { border-left: 4px solid #d55e00; padding-left: .7rem; }
@media (max-width: 40rem) { img { max-width: none; width: 44rem; } }
</style>
</head>
<body>
<h1>$title</h1>
$body</body>
</html>
""")
