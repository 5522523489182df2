"""Which settings differ between run folders."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf


def config_differences(folders: Sequence[Path]) -> dict[str, list[str]]:
    """Flattened keys of ``.hydra/config.yaml``, unresolved, whose values are not the same in all of ``folders``.

    One text for each folder, an en dash where the key is absent; a folder without a readable config is all dashes.
    """
    flat = [_config(folder) for folder in folders]
    kept = [config for config in flat if config]
    differing = [key for key in set().union(*kept) if len({config.get(key) for config in kept}) > 1]
    return {key: [config.get(key, "–") for config in flat] for key in sorted(differing)}


def _config(folder: Path) -> dict[str, str]:
    file = folder / ".hydra" / "config.yaml"
    if not file.is_file():
        return {}
    content = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    return dict(_flatten(content, ""))


def _flatten(value: Any, prefix: str) -> Iterable[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flatten(item, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
