"""What a chat template uses: names of variables and of keys, found in its syntax tree."""

import re
from functools import cache
from typing import NamedTuple

from jinja2 import TemplateSyntaxError, meta, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

MARKS = re.compile(r"\{%-?\s*(?:end)?generation\s*-?%\}")
"""The tags around answers, an extension of transformers that has no meaning for the names."""

REASONING = frozenset(("reasoning_content", "reasoning", "thinking"))
"""Names of one thing: transformers copies each of them to the name that the template uses."""


class Names(NamedTuple):
    """Names in a template.

    Attributes:
        variables: variables that it does not set itself, such as ``tools``.
        keys: all attributes and strings, among them the keys of messages that it reads.
    """

    variables: frozenset[str]
    keys: frozenset[str]


@cache
def names_in(template: str) -> Names:
    """The names that a chat template uses; none if it is not valid, which rendering it will report."""
    environment = ImmutableSandboxedEnvironment(extensions=["jinja2.ext.loopcontrols"])
    try:
        tree = environment.parse(MARKS.sub("", template))
        variables = meta.find_undeclared_variables(tree)
    except TemplateSyntaxError:
        return Names(frozenset(), frozenset())
    strings = {node.value for node in tree.find_all(nodes.Const) if isinstance(node.value, str)}
    keys = strings | {node.attr for node in tree.find_all(nodes.Getattr)}
    if keys & REASONING:
        keys |= REASONING
    return Names(frozenset(variables), frozenset(keys))
