"""Which settings differ between run folders."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from lightning_langcore.results.number_format import ABSENT
from lightning_langcore.utils import config_yaml


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
        content = config_yaml.read(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return {}
    return dict(_flatten(content, "")) if content else {}


def _flatten(value: Any, prefix: str) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
