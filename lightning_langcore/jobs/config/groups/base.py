"""What all groups share: the base class, the types of fields, and messages for invalid values."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    ValidationInfo,
)
from pydantic.fields import FieldInfo

from lightning_langcore.jobs.config.component import Component
from lightning_langcore.utils.errors import LangcoreError


class Group(BaseModel):
    """The settings of one group; frozen, and without settings of other names."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True, protected_namespaces=())


@dataclass(frozen=True)
class Expected:
    """What a valid value is, for the message and the reference: ``must be TEXT``."""

    text: str


def _finite(value: Any) -> Any:
    if not math.isfinite(value):
        raise ValueError("not finite")
    return value


def _blank(value: str) -> str:
    if not value.strip():
        raise ValueError("blank")
    return value


def each_once(values: list[Any]) -> list[Any]:
    """A validator of lists: no entry is repeated."""
    if any(values.count(value) > 1 for value in values):
        raise ValueError("repeated")
    return values


def one_or_more(values: list[Any]) -> list[Any]:
    """A validator of lists: not empty, and no entry is repeated."""
    if not values:
        raise ValueError("empty")
    return each_once(values)


def _component(value: Any, info: ValidationInfo) -> Any:
    return value if value is None or isinstance(value, Component) else component(setting_of(info), value)


def setting_of(info: ValidationInfo) -> str:
    """Full name of the setting that a validator checks."""
    return f"{info.context['group']}.{info.field_name}" if info.context else str(info.field_name)


def component(setting: str, node: Any) -> Component:
    """The component of a node.

    Raises:
        LangcoreError: the node has no ``_target_``.
    """
    if not isinstance(node, Mapping) or not node.get("_target_"):
        raise LangcoreError(
            f"{setting} has no _target_, so it would do nothing: set _target_ to its class, or remove it with"
            f" ~{setting}"
        )
    return Component(setting, node)


Text = Annotated[StrictStr, AfterValidator(_blank), Expected("text that is not blank")]
TextOrNull = Annotated[StrictStr | None, Expected("null, or text")]
Texts = Annotated[
    list[Annotated[StrictStr, AfterValidator(_blank)]],
    AfterValidator(one_or_more),
    Expected("a list of texts, at least one and each once"),
]
Flag = Annotated[StrictBool, Expected("true or false")]
Number = Annotated[StrictInt | StrictFloat, AfterValidator(_finite), Expected("a finite number")]
Numbers = Annotated[
    list[Annotated[StrictInt | StrictFloat, AfterValidator(_finite)]],
    AfterValidator(one_or_more),
    Expected("a list of finite numbers, at least one and each once"),
]
Count = Annotated[StrictInt, Field(ge=1), Expected("a whole number of at least 1")]
CountOrNull = Annotated[Annotated[StrictInt, Field(ge=1)] | None, Expected("null, or a whole number of at least 1")]
CountOrZero = Annotated[StrictInt, Field(ge=0), Expected("a whole number of at least 0")]
Whole = Annotated[StrictInt, Expected("a whole number")]
Seed = Annotated[StrictInt, Field(ge=0, lt=2**32), Expected("a whole number from 0 to 4294967295")]
Share = Annotated[Number, Field(ge=0, le=1), Expected("a number in [0, 1]")]
Fraction = Annotated[Number, Field(gt=0, le=1), Expected("a number in (0, 1], such as 0.05 for 5 %")]
Positive = Annotated[Number, Field(gt=0), Expected("a number above 0")]
NotNegative = Annotated[Number, Field(ge=0), Expected("a number of at least 0")]
Languages = Annotated[
    list[StrictStr] | None,
    Expected("null, or a list of languages, as [zh, ar]; in quotes where YAML reads something else, as ['1', 'no']"),
]
Patterns = Annotated[Texts | None, Expected("null, or a list of names or patterns, as ['*.self_attn.*'], each once")]
Made = Annotated[Component, BeforeValidator(_component), Expected("a class in _target_ with its arguments")]
MadeOrNull = Annotated[
    Component | None, BeforeValidator(_component), Expected("null, or a class in _target_ with its arguments")
]

G = TypeVar("G", bound=Group)


def validated(group: str, cls: type[G], node: Any) -> G:
    """The group made from its plain, resolved node.

    Args:
        group: name of the group, for messages; empty for the settings outside of groups.
        cls: the class of the group.
        node: the node as plain containers.

    Raises:
        LangcoreError: one line for each invalid setting: its name, its value, and what it must be.
    """
    if not isinstance(node, Mapping):
        raise LangcoreError(f"{group}={node} must be a group of settings: {', '.join(cls.model_fields)}")
    try:
        return cls.model_validate(node, context={"group": group})
    except ValidationError as error:
        lines = [_message(group, cls, node, each) for each in error.errors()]
        raise LangcoreError("\n".join(dict.fromkeys(lines))) from None


def _message(group: str, cls: type[Group], node: Any, error: Any) -> str:
    raised = error.get("ctx", {}).get("error")
    if isinstance(raised, LangcoreError):
        return str(raised)
    names, found, owner = [group] if group else [], None, cls
    for part in error["loc"]:
        if part not in owner.model_fields:
            if error["type"] == "extra_forbidden":
                known = ", ".join(owner.model_fields)
                name = ".".join(names)
                return f"{name}.{part} is no setting of {name}, which has {known}: remove it"
            break
        found = owner.model_fields[part]
        names.append(str(part))
        node = node.get(part) if isinstance(node, Mapping) else node
        nested = nested_group(found)
        if nested is None:
            break
        owner = nested
    assert found is not None
    name = ".".join(names)
    if error["type"] == "missing":
        return f"{name} has no value: it must be {expected(found)}"
    choices = literals(found)
    return f"{name}={node} is none of {', '.join(choices)}" if choices else f"{name}={node} must be {expected(found)}"


def nested_group(info: FieldInfo) -> type[Group] | None:
    """The class of a field that is a group itself, also where it may be null."""
    kinds = get_args(info.annotation) if get_origin(info.annotation) in (Union, UnionType) else (info.annotation,)
    for kind in kinds:
        if isinstance(kind, type) and issubclass(kind, Group):
            return kind
    return None


def literals(info: FieldInfo) -> list[str]:
    """The choices of a field of type ``Literal``."""
    return [str(choice) for choice in get_args(info.annotation)] if get_origin(info.annotation) is Literal else []


def expected(info: FieldInfo) -> str:
    """What a valid value of the field is."""
    if literals(info):
        return f"one of {', '.join(literals(info))}"
    own = [each.text for each in info.metadata if isinstance(each, Expected)]
    if own:
        return own[-1]
    for kind in get_args(info.annotation):  # of ``Number | None``
        for each in getattr(kind, "__metadata__", ()):
            if isinstance(each, Expected):
                return f"null, or {each.text}"
    nested = nested_group(info)
    assert nested is not None, info
    return f"a group with {', '.join(nested.model_fields)}"


def described(prefix: str, cls: type[Group]) -> Iterator[tuple[str, str, str]]:
    """Name, valid values and description of each setting of a group, nested groups included, in order."""
    for field, info in cls.model_fields.items():
        nested, name = nested_group(info), f"{prefix}.{field}" if prefix else field
        if nested is not None:
            yield from described(name, nested)
        else:
            yield name, expected(info), info.description or ""
