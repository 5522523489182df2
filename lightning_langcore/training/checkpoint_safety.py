"""Check of a sharded checkpoint, a folder written by ``torch.distributed.checkpoint``: complete, and safe to load.

torch unpickles the metadata of such a folder and its values that are no tensors without restrictions, so that they can
call any function; only files are loaded with ``weights_only``. So metadata and values are checked before torch loads
them.
"""

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.metadata import BytesStorageMetadata
from typing_extensions import override

from lightning_langcore.utils.errors import LangcoreError

_ALLOWED = {  # the classes in the metadata of shards
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


class _MetadataUnpickler(pickle.Unpickler):
    @override
    def find_class(self, module: str, name: str) -> Any:
        if name not in _ALLOWED.get(module, ()):
            raise pickle.UnpicklingError(f".metadata names {module}.{name}")
        return super().find_class(module, name)


def check(path: Path) -> None:
    """Check that the shards of all ranks are complete, and that the folder refers to no function.

    Args:
        path: the folder.

    Raises:
        LangcoreError: a shard that is missing or cut off, or content that no checkpoint needs.
    """
    try:
        with (path / ".metadata").open("rb") as file:
            metadata = _MetadataUnpickler(file).load()
        for index, part in metadata.storage_data.items():
            shard = _inside(path, part.relative_path)
            if shard.stat().st_size < part.offset + part.length:
                raise OSError(f"{part.relative_path} is cut off")
            if isinstance(metadata.state_dict_metadata[index.fqn], BytesStorageMetadata):
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
        raise LangcoreError(f"{path} is no whole checkpoint ({reason})") from error


def _inside(folder: Path, name: str) -> Path:
    if Path(name).name != name:
        raise LangcoreError(f".metadata names the file {name}")
    return folder / name
