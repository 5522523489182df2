"""Which settings differ between run folders."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_langcore.results.number_format import ABSENT


class _Loader(yaml.SafeLoader):
    """Reads scalars as OmegaConf, which wrote the file: ``1e-05`` is a number, and a date is text.

    PyYAML follows YAML 1.1, where a number with an exponent needs a point and a sign, as in ``1.0e-05``.
    """


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def config_differences(folders: Sequence[Path]) -> dict[str, list[str]]:
    """Flattened keys of ``.hydra/config.yaml``, unresolved, whose values are not the same in all of ``folders``.

    One text for each folder, an en dash where the key is absent. A folder without a readable config is all dashes, and
    does not make a key differ.
    """
    configs = [_config(folder) for folder in folders]
    readable = [config for config in configs if config]
    keys = set().union(*readable)
    differing = [key for key in keys if len({config.get(key) for config in readable}) > 1]
    return {key: [config.get(key, ABSENT) for config in configs] for key in sorted(differing)}


def _config(folder: Path) -> dict[str, str]:
    try:
        text = (folder / ".hydra" / "config.yaml").read_text(encoding="utf-8")
        content = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return dict(_flatten(content, "")) if content else {}


def _flatten(value: Any, prefix: str) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
