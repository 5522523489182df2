"""Text from the Hugging Face hub, or from a dataset folder on disk laid out as there, streamed or downloaded."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import huggingface_hub
import numpy as np

from lightning_langcore.data.sources.base import START, Document, Position, Source
from lightning_langcore.data.sources.shuffle import shuffled_chunks
from lightning_langcore.utils import hub_probe
from lightning_langcore.utils.progress import is_terminal

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

_BATCH = 256
_VAGUE = "An error occurred while generating the dataset"
_PLAIN = {
    "BatchSize must be": "one of its parquet files has no rows: remove it",
    "Couldn't cast": "its files do not have the same columns: put those that differ into a config of their own",
}


def open_dataset(
    path: str,
    config: str | None,
    split: str,
    streaming: bool,
    cache_dir: Path | str | None = None,
    setting: str = "data.path",
    revision: str | None = None,
) -> "Dataset | IterableDataset":
    """One split of a dataset, through ``datasets.load_dataset``.

    Args:
        path: id on the hub, or a folder on disk with data files and, for several configs, a ``README.md`` that names
            them as on the hub.
        config: of the dataset; ``None``: its default.
        split: of the config.
        streaming: read while iterating, nothing is kept; else downloaded and converted first.
        cache_dir: of ``datasets``; by default its own.
        setting: what the user calls ``path``, for messages.
        revision: branch, tag or commit of the dataset on the hub; ``None``: its main branch.

    Raises:
        ValueError: for whatever reason it can't be opened: it isn't there, can't be reached, asks for a login, holds a
            script instead of data, or lacks the config or split.
    """
    import datasets  # a second of import

    silent = hub_probe.silence("datasets", path)
    if silent is not None and not huggingface_hub.is_offline_mode():  # told to be offline, `datasets` is so at once
        raise ValueError(
            f"{setting}={path}: {silent}: try again later, set HF_HUB_OFFLINE=1 to use what was downloaded before, or"
            " give the folder of a downloaded copy"
        )

    if not is_terminal():
        datasets.disable_progress_bars()
    cache = None if cache_dir is None else str(cache_dir)
    try:
        return datasets.load_dataset(
            str(path), config, split=split, streaming=streaming, cache_dir=cache, revision=revision
        )
    except Exception as error:
        reason = _reason(error, str(path)) or _missing(str(path), config, split, revision) or first_line(error)
        raise ValueError(f"{setting}={path}: {reason}") from error


def first_line(error: BaseException) -> str:
    """What went wrong, in one line."""
    lines = [line for line in str(error).splitlines() if line.strip() and line != _VAGUE]
    if not lines:
        return first_line(error.__cause__) if error.__cause__ else type(error).__name__
    for cryptic, plain in _PLAIN.items():
        if cryptic in lines[0]:
            return plain
    return lines[0].strip()


def _reason(error: Exception, path: str) -> str | None:
    text, folder = str(error), Path(path)
    scripted = folder.is_dir() and isinstance(error, FileNotFoundError) and any(folder.glob("*.py"))
    if scripted or "scripts are no longer supported" in text:
        return (
            "it holds a Python script instead of data files, and `datasets` 4 and later run no scripts: use a copy in"
            " parquet (the hub keeps one of many datasets: data.revision=refs/convert/parquet) or another dataset"
        )
    if isinstance(error, ConnectionError) or type(error).__module__.startswith("httpx"):
        return (
            "the hub can't be reached: there is no network, or HF_HUB_OFFLINE=1 forbids it; give the folder of a"
            " downloaded copy, which needs neither, or connect and unset HF_HUB_OFFLINE"
        )
    if "gated" in text:
        return (
            f"it is gated: accept its terms at https://huggingface.co/datasets/{path} and log in with `hf auth login`"
        )
    if isinstance(error, FileNotFoundError) and not folder.is_dir() and "Revision" not in text:
        return (
            "there is no such folder, and no such dataset on the hub that you may see: check the spelling, or log in"
            " with `hf auth login` if it is private"
        )
    return None


def _missing(path: str, config: str | None, split: str, revision: str | None) -> str | None:
    """Says that there is no such config or split, and which ones there are."""
    import datasets

    try:
        configs = datasets.get_dataset_config_names(path, revision=revision)
        if config is None and len(configs) > 1:
            return f"it has several configs, name one of {', '.join(configs)}"
        if config is not None and config not in configs:
            return f"it has no config {config!r}, only {', '.join(configs)}"
        splits = datasets.get_dataset_split_names(path, config, revision=revision)
    except Exception:
        return None  # the first error says more
    if split in splits:
        return None
    return f"the config {config or 'default'!r} has no split {split!r}, only {', '.join(splits)}"


def read_columns(rows: Any, columns: Mapping[str, str], what: str) -> Iterator[tuple[str | None, ...]]:
    """Some columns of a dataset, row by row.

    Args:
        rows: a ``Dataset`` or an ``IterableDataset``.
        columns: what the user calls it -> column, as ``{"data.column": "text"}``.
        what: the dataset, for messages.

    Raises:
        ValueError: no such column, one that holds no text, or rows that can't be read on.
    """
    if rows.column_names is not None:  # json does not know before it is read
        _check_columns(rows.column_names, columns, what)
        rows = rows.select_columns(list(columns.values()))
    batches = rows.iter(_BATCH)  # not iter(rows): in a loader's worker that would divide the rows once more
    while (batch := _next(batches, what)) is not None:
        _check_columns(batch, columns, what)
        for row in zip(*(batch[column] for column in columns.values()), strict=True):
            for (setting, column), text in zip(columns.items(), row, strict=True):
                if not isinstance(text, str | None):
                    raise ValueError(f"{what}: the column {setting}={column!r} holds {type(text).__name__}, not text")
            yield row


def _next(batches: Iterator[dict[str, Any]], what: str) -> dict[str, Any] | None:
    try:
        return next(batches, None)
    except Exception as error:
        raise ValueError(f"{what} broke off while it was read: {first_line(error)}") from error


def _check_columns(found: Iterable[str], columns: Mapping[str, str], what: str) -> None:
    for setting, column in columns.items():
        if column not in found:
            raise ValueError(f"{what} has no column {setting}={column!r}, only {', '.join(found)}")


def dataset_version(path: str, revision: str | None) -> Any:
    """What tells a dataset from another state of it: on the hub the commit, in a folder its files' names and times.

    A file in a folder that changes and keeps its size and time is not noticed; nor a change on the hub as long as it
    can't be reached.
    """
    folder = Path(path)
    if folder.is_dir():
        files = [(str(f.relative_to(folder)), f.stat()) for f in sorted(folder.rglob("*")) if f.is_file()]
        return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files if not name.startswith(".")]
    cached = hub_probe.silence("datasets", path) is not None
    try:
        card = huggingface_hub.hf_hub_download(
            path, "README.md", repo_type="dataset", revision=revision, local_files_only=cached
        )
    except Exception:
        return None  # opening it will say what is wrong
    return Path(card).parent.name  # the hub's cache keeps files in folders named by commit


class HubSource(Source):
    """Text of a dataset on the hub, or of a folder laid out as there: a config of it for each language.

    Hub text is often sorted, so its first documents are a biased sample. Streamed, the order of the shards (the
    dataset's files) is shuffled, and the documents in chunks of ``shuffle_buffer``; downloaded, all documents are.
    Empty ones are left out.

    Args:
        path: id on the hub, as ``wikimedia/wikipedia``, or a folder.
        configs: language -> config, as ``{"zh": "20231101.zh"}``; ``None``: the dataset's default config.
        column: column of the text.
        split: of the dataset, all of whose documents are divided anew.
        streaming: see :func:`open_dataset`.
        shuffle_buffer: documents that are held in memory to be shuffled; 0: the dataset's own order.
        seed: of the order.
        cache_dir: of ``datasets``; by default its own.
        revision: branch, tag or commit on the hub; ``None``: its main branch.

    Raises:
        ValueError: no configs, or a negative buffer. When read: what :func:`open_dataset` refuses, no such column, one
            that holds no text, an empty dataset, or a stream that breaks off.
    """

    def __init__(
        self,
        path: Path | str,
        configs: Mapping[str, str | None],
        column: str = "text",
        split: str = "train",
        streaming: bool = True,
        shuffle_buffer: int = 10_000,
        seed: int = 0,
        cache_dir: Path | str | None = None,
        revision: str | None = None,
    ) -> None:
        self.path = str(path)
        self.configs = dict(configs)
        self.column = column
        self.split = split
        self.streaming = streaming
        self.shuffle_buffer = shuffle_buffer
        self.seed = seed
        self.cache_dir = cache_dir
        self.revision = revision
        self._rows: dict[str, Dataset | IterableDataset] = {}
        self._digest: str | None = None
        if not self.configs or not all(isinstance(language, str) for language in self.configs):
            raise ValueError(
                f"data.configs={self.configs} must name a config for each language, as {{zh: 20231101.zh}}; put a"
                " language that YAML reads as something else, as no, in quotes"
            )
        if shuffle_buffer < 0:
            raise ValueError(f"data.shuffle_buffer={shuffle_buffer} must be a number of documents, 0 or more")

    @property
    def languages(self) -> list[str]:
        """Those that ``configs`` names, in its order."""
        return list(self.configs)

    def documents(self, language: str) -> Iterator[Document]:
        """The key is the text: the content decides the split, so a duplicate never stands in two."""
        size = self.shuffle_buffer if self.streaming else 0  # a downloaded one is shuffled as a whole
        found = False
        for _, chunk in shuffled_chunks(self.read(language), START, size, [self.seed]):
            found = True
            yield from chunk
        if not found:
            raise ValueError(f"{self._what(language)} is empty: no row has text in the column {self.column!r}")

    def read(
        self, language: str, epoch: int = 0, share: tuple[int, int] = (0, 1), start: Position = START
    ) -> Iterator[tuple[Position, Document]]:
        """Documents of one reader among several, each with the position behind it; not yet shuffled in chunks.

        Where there are at least as many shards as readers each reads its own shards, else each all of them for its own
        rows; downloaded, its own rows. Together they read every document once.

        Args:
            language: of the documents.
            epoch: another has another order of shards, and of documents where they are downloaded.
            share: number of the reader, and how many there are.
            start: where to go on; the rows before, in the same shard, are read again and skipped.
        """
        shards, (index, count) = self._shards(language, epoch, share)
        for number in range(start[0], len(shards)):
            first = start[1] if number == start[0] else 0
            texts = read_columns(shards[number](first), {"data.column": self.column}, self._what(language))
            for row, (text,) in enumerate(texts, first):
                if text and not text.isspace() and (number + row) % count == index:
                    yield (number, row + 1), Document(text, text)

    def _shards(
        self, language: str, epoch: int, share: tuple[int, int]
    ) -> tuple[list[Callable[[int], Any]], tuple[int, int]]:
        """What opens each of a reader's shards behind some rows, in its order, and which of their rows are its own."""
        rows, (index, count) = self._open(language), share
        rng = np.random.default_rng([self.seed, epoch])
        if not self.streaming:
            if self.shuffle_buffer:
                rows = rows.shuffle(seed=int(rng.integers(1 << 31)))
            return [lambda first: rows.select(np.arange(index + first * count, len(rows), count))], (0, 1)
        order = np.arange(rows.num_shards)
        if self.shuffle_buffer:
            rng.shuffle(order)
        own, rest = (order[index::count], (0, 1)) if count <= len(order) else (order, share)
        return [lambda first, i=int(i): rows.shard(len(order), i).skip(first) for i in own], rest  # type: ignore[misc]

    def digest(self) -> str:
        """Of how the text is read and of what it is, see :func:`dataset_version`."""
        if self._digest is None:
            about = [self.path, self.configs, self.column, self.split, self.streaming, self.shuffle_buffer, self.seed]
            text = json.dumps([*about, self.revision, dataset_version(self.path, self.revision)], ensure_ascii=False)
            self._digest = hashlib.sha256(text.encode()).hexdigest()
        return self._digest

    def _open(self, language: str) -> Any:
        if language not in self.configs:
            raise ValueError(
                f"data.configs has no config for the language {language!r}, only {', '.join(self.configs)}"
            )
        if language not in self._rows:
            self._rows[language] = open_dataset(
                self.path,
                self.configs[language],
                self.split,
                self.streaming,
                self.cache_dir,
                revision=self.revision,
            )
        return self._rows[language]

    def _what(self, language: str) -> str:
        return f"data.path={self.path} (config {self.configs[language] or 'default'!r}, split {self.split!r})"
