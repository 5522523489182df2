"""A checkpoint that is a folder of shards, as ``torch.distributed.checkpoint`` writes it: whole, and safe to load.

torch unpickles what such a folder lists and the few values that are no tensors without a look at what they name, which
may be any function; files go through ``weights_only``. So both are looked at before torch is let at them.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import BytesStorageMetadata
from typing_extensions import override

_LISTS = {  # what a list of shards is made of
    "torch.distributed.checkpoint.metadata": {
        "BytesStorageMetadata",
        "ChunkStorageMetadata",
        "Metadata",
        "MetadataIndex",
        "StorageMeta",
        "TensorProperties",
        "TensorStorageMetadata",
        "_MEM_FORMAT_ENCODING",
    },
    "torch.distributed.checkpoint.filesystem": {"_StorageInfo"},
    "torch.serialization": {"_get_layout"},
    "torch": {"Size", *(name for name, value in vars(torch).items() if isinstance(value, torch.dtype))},
    "pathlib": {"PosixPath", "Path", "WindowsPath"},
    "pathlib._local": {"PosixPath", "Path", "WindowsPath"},
}


class _List(pickle.Unpickler):
    @override
    def find_class(self, module: str, name: str) -> Any:
        if name not in _LISTS.get(module, ()):
            raise pickle.UnpicklingError(f".metadata names {module}.{name}")
        return super().find_class(module, name)


def check(path: Path) -> None:
    """Whether every rank's part is there to its end, and nothing in the folder names a function.

    Args:
        path: the folder.

    Raises:
        ValueError: a shard is missing or cut off, or something is there that no checkpoint needs.
    """
    try:
        with (path / ".metadata").open("rb") as file:
            listed = _List(file).load()
        for index, part in listed.storage_data.items():
            shard = _inside(path, part.relative_path)
            if shard.stat().st_size < part.offset + part.length:
                raise OSError(f"{part.relative_path} is cut off")
            if isinstance(listed.state_dict_metadata[index.fqn], BytesStorageMetadata):
                with shard.open("rb") as file:
                    file.seek(part.offset)
                    torch.load(io.BytesIO(file.read(part.length)), weights_only=True)
    except (
        OSError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        pickle.PickleError,
    ) as error:
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise ValueError(f"{path} is no whole checkpoint ({reason})") from error


def _inside(folder: Path, name: str) -> Path:
    if Path(name).name != name:
        raise ValueError(f".metadata names the file {name}")
    return folder / name
