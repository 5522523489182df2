"""Functions whose arguments are small dataclasses also take the fields of these as keywords."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import MISSING, Field, fields, replace
from typing import Any


def accepts_fields(**classes: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Let a function take the fields of some of its arguments as keywords of its own.

    ``f(length=Length(num_tokens=5))`` and ``f(num_tokens=5)`` are then the same call, and
    ``f(length=Length(num_tokens=5), epochs=2)`` replaces one field. :func:`inspect.signature` lists all keywords.

    Args:
        **classes: argument -> its dataclass; no two of them share the name of a field.
    """
    owners = {field.name: (argument, cls) for argument, cls in classes.items() for field in fields(cls)}

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def with_fields(*args: Any, **keywords: Any) -> Any:
            changes: dict[str, dict[str, Any]] = {}
            for name in [name for name in keywords if name in owners]:
                changes.setdefault(owners[name][0], {})[name] = keywords.pop(name)
            for argument, own in changes.items():
                given = keywords.get(argument)
                keywords[argument] = classes[argument](**own) if given is None else replace(given, **own)
            return function(*args, **keywords)

        signature = inspect.signature(function)
        keywords = [_parameter(field) for cls in classes.values() for field in fields(cls)]
        parameters = [*signature.parameters.values(), *keywords]
        with_fields.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return with_fields

    return decorate


def _parameter(field: Field[Any]) -> inspect.Parameter:
    default = field.default if field.default_factory is MISSING else field.default_factory()
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=field.type)
