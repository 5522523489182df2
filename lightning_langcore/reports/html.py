"""A page as one self-contained HTML file: no script, no file beside it, pictures inside."""

import base64
from functools import cache
from typing import TYPE_CHECKING

from lightning_langcore.reports.blocks import Block, Page

if TYPE_CHECKING:
    from jinja2 import Environment


def render(page: Page) -> str:
    """The page as HTML, from ``templates/``; all text is escaped there."""
    return _environment().get_template("page.html.j2").render(page=page)


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("lightning_langcore.reports"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["template"] = _template
    environment.filters["base64"] = _base64
    return environment


def _template(block: Block) -> str:
    """The file that renders a block: ``table.html.j2`` for a ``Table``."""
    return f"{type(block).__name__.lower()}.html.j2"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
