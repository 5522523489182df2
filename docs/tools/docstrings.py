"""Docstrings as Markdown: the package writes them in the markup of Sphinx, as PyTorch and Lightning do."""

import inspect
import re
from typing import Any

import griffe

_ROLE = re.compile(r":(?:class|func|meth|attr|mod|data|exc|obj):`~?([^`]+)`")
_MATH = re.compile(r":math:`([^`]+)`", re.DOTALL)
_LITERAL = re.compile(r"::\n\n((?:[ \t]+[^\n]*\n|\n)+)")
_SECTIONS = ("Args", "Attributes", "Returns", "Yields", "Raises")


def to_markdown(text: str) -> str:
    """Roles, formulas and literal blocks of reStructuredText as Markdown.

    Args:
        text: a docstring without indentation.
    """
    text = _MATH.sub(lambda found: rf"\({' '.join(found[1].split())}\)", text)
    text = _ROLE.sub(lambda found: f"`{found[1].rsplit('.', 1)[-1]}`", text)
    text = text.replace("``", "`")
    text = re.sub(r"^Example:$", "Examples:", text, flags=re.MULTILINE)  # the section whose >>> is code
    return _LITERAL.sub(_fenced, text + "\n").rstrip()


def _fenced(found: re.Match[str]) -> str:
    code = inspect.cleandoc("\n" + found[1])
    return f":\n\n```python\n{code}\n```\n\n"


class Markdown(griffe.Extension):
    """Converts each docstring after it was read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Convert the docstring of a module, class, function or attribute."""
        if obj.docstring is not None:
            obj.docstring.value = to_markdown(obj.docstring.value)
