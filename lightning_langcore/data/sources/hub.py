"""Text from the Hugging Face hub, or from a dataset folder on disk with the same layout, streamed or downloaded."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import huggingface_hub
import numpy as np

from lightning_langcore.data.sources.base import START, Document, Position, Source
from lightning_langcore.data.sources.language_files import SAVED
from lightning_langcore.data.sources.shuffle import shuffled_chunks
from lightning_langcore.utils import hub_probe
from lightning_langcore.utils.errors import LangcoreError
from lightning_langcore.utils.progress import is_terminal

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

_BATCH = 256
_VAGUE = "An error occurred while generating the dataset"
_EXPLANATIONS = {
    "BatchSize must be": "one of its parquet files has no rows: remove it",
    "Couldn't cast": "its files do not have the same columns, or one of them begins late or is null for long: put those"
    " that differ into a config of their own, or read the files with data=files, where the column of the text decides",
    "Failed to parse string": "a column changes its type, which `datasets` infers from the first 10 MB: read the files"
    " with data=files, where only the column of the text decides",
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
    """One split of a dataset, through ``datasets.load_dataset``, or ``load_from_disk`` where it was saved so.

    Args:
        path: id on the hub, or a folder on disk with data files and, for several configs, a ``README.md`` that lists
            them as on the hub; or a folder that ``save_to_disk`` wrote, or one with such a folder for each config.
        config: config of the dataset; ``None``: its default.
        split: split of the config.
        streaming: ``True``: read while iterating, without a copy on disk; ``False``: download and convert first.
        cache_dir: cache folder of ``datasets``; ``None``: its default.
        setting: name of the setting of ``path``, for messages.
        revision: branch, tag or commit of the dataset on the hub; ``None``: the main branch.

    Raises:
        LangcoreError: the dataset can't be opened: it does not exist, can't be reached, requires a login, holds a
            script instead of data, or lacks the config or split.
    """
    import datasets  # imported here because it takes a second

    saved = _saved(Path(path), config)
    if saved is not None:
        return _from_disk(saved, split, streaming, setting)
    unreachable = hub_probe.why_unreachable("datasets", path)
    if unreachable is not None and not huggingface_hub.is_offline_mode():  # in offline mode `datasets` needs no probe
        raise LangcoreError(
            f"{setting}={path}: {unreachable}: try again later, set HF_HUB_OFFLINE=1 to use what was downloaded before,"
            " or give the folder of a downloaded copy"
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
        raise LangcoreError(f"{setting}={path}: {reason}") from error


def _saved(path: Path, config: str | None) -> Path | None:
    """The folder of this config, if ``save_to_disk`` wrote it."""
    folder = path if config is None else path / config
    return folder if any((folder / name).is_file() for name in SAVED) else None


def _from_disk(folder: Path, split: str, streaming: bool, setting: str) -> "Dataset | IterableDataset":
    import datasets

    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:
        raise LangcoreError(f"{setting}={folder}: {first_line(error)}") from error
    splits = found if isinstance(found, datasets.DatasetDict) else {str(found.split or split): found}
    if split not in splits:
        raise LangcoreError(f"{setting}={folder}: it has no split {split!r}, only {', '.join(splits)}")
    rows = splits[split]
    return rows.to_iterable_dataset() if streaming else rows


def first_line(error: BaseException) -> str:
    """The cause of an error, in one line."""
    lines = [line for line in str(error).splitlines() if line.strip() and line != _VAGUE]
    if not lines:
        return first_line(error.__cause__) if error.__cause__ else type(error).__name__
    for cryptic, explanation in _EXPLANATIONS.items():
        if cryptic in lines[0]:
            return explanation
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
            "there is no such folder, and no such dataset on the hub that you can access: check the spelling, or log in"
            " with `hf auth login` if it is private"
        )
    return None


def _missing(path: str, config: str | None, split: str, revision: str | None) -> str | None:
    """Message that the config or split does not exist, with those that exist; ``None`` if both exist."""
    import datasets

    try:
        configs = datasets.get_dataset_config_names(path, revision=revision)
        if config is None and len(configs) > 1:
            return f"it has several configs, name one of {', '.join(configs)}"
        if config is not None and config not in configs:
            return f"it has no config {config!r}, only {', '.join(configs)}"
        splits = datasets.get_dataset_split_names(path, config, revision=revision)
    except Exception:
        return None  # the caller's first error is more informative
    if split in splits:
        return None
    return f"the config {config or 'default'!r} has no split {split!r}, only {', '.join(splits)}"


def read_columns(rows: Any, columns: Mapping[str, str], what: str) -> Iterator[tuple[str | None, ...]]:
    """Some columns of a dataset, row by row.

    Args:
        rows: a ``Dataset`` or an ``IterableDataset``.
        columns: name of the setting -> column, such as ``{"data.column": "text"}``.
        what: description of the dataset, for messages.

    Raises:
        LangcoreError: no such column, a column that does not hold text, or an error while reading.
    """
    if rows.column_names is not None:  # columns of a JSON file are unknown until it is read
        _check_columns(rows.column_names, columns, what)
        rows = rows.select_columns(list(columns.values()))
    batches = rows.iter(_BATCH)  # not iter(rows): in a loader's worker that would divide the rows again
    while (batch := _next(batches, what)) is not None:
        _check_columns(batch, columns, what)
        for row in zip(*(batch[column] for column in columns.values()), strict=True):
            for (setting, column), text in zip(columns.items(), row, strict=True):
                if not isinstance(text, str | None):
                    raise LangcoreError(
                        f"{what}: the column {setting}={column!r} holds {type(text).__name__}, not text"
                    )
            yield row


def _next(batches: Iterator[dict[str, Any]], what: str) -> dict[str, Any] | None:
    try:
        return next(batches, None)
    except Exception as error:
        raise LangcoreError(f"{what} failed while it was read: {first_line(error)}") from error


def _check_columns(found: Iterable[str], columns: Mapping[str, str], what: str) -> None:
    for setting, column in columns.items():
        if column not in found:
            raise LangcoreError(f"{what} has no column {setting}={column!r}, only {', '.join(found)}")


def dataset_version(path: str, revision: str | None) -> Any:
    """Version of a dataset: on the hub the commit, in a folder the names, sizes and modification times of its files.

    Two changes are not detected: a file in a folder that keeps its size and time, and a new commit while the hub can't
    be reached.
    """
    folder = Path(path)
    if folder.is_dir():
        files = [(str(f.relative_to(folder)), f.stat()) for f in sorted(folder.rglob("*")) if f.is_file()]
        return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in files if not name.startswith(".")]
    cached = hub_probe.why_unreachable("datasets", path) is not None
    try:
        card = huggingface_hub.hf_hub_download(
            path, "README.md", repo_type="dataset", revision=revision, local_files_only=cached
        )
    except Exception:
        return None  # opening the dataset will raise the error
    return Path(card).parent.name  # the cache of the hub keeps files in folders named by commit


class HubSource(Source):
    """Text of a dataset on the hub, or of a folder with the same layout: one config of the dataset for each language.

    Datasets are often sorted, so their first documents are a biased sample. If streamed, the order of the shards (the
    files of the dataset) is shuffled, and the documents are shuffled in chunks of ``shuffle_buffer``; if downloaded,
    all documents are shuffled. Empty documents are left out.

    Args:
        path: id on the hub, such as ``wikimedia/wikipedia``, or a folder.
        configs: language -> config, such as ``{"zh": "20231101.zh"}``; ``None``: the default config of the dataset.
        column: column of the text.
        split: split of the dataset; all its documents are divided again into splits and pools.
        streaming: see :func:`open_dataset`.
        shuffle_buffer: number of documents that are held in memory to be shuffled; 0: the order of the dataset.
        seed: seed of the order.
        cache_dir: cache folder of ``datasets``; ``None``: its default.
        revision: branch, tag or commit on the hub; ``None``: the main branch.

    Raises:
        LangcoreError: no configs, or a negative buffer. When read: an error of :func:`open_dataset`, no such column, a
            column that does not hold text, an empty dataset, or a stream that fails.

    Example:
        >>> from lightning_langcore import HubSource
        >>> source = HubSource("wikimedia/wikipedia", {"zh": "20231101.zh", "en": "20231101.en"})  # reads nothing yet
        >>> source.languages
        ['zh', 'en']
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
            raise LangcoreError(
                f"data.configs={self.configs} must name a config for each language, as {{zh: 20231101.zh}}; put a"
                " language that YAML reads as something else, such as no, in quotes"
            )
        if shuffle_buffer < 0:
            raise LangcoreError(f"data.shuffle_buffer={shuffle_buffer} must be a number of documents, 0 or more")

    @property
    def languages(self) -> list[str]:
        """The languages of ``configs``, in its order."""
        return list(self.configs)

    def documents(self, language: str) -> Iterator[Document]:
        """The key is the text: the content decides the split, so duplicates are in the same split."""
        size = self.shuffle_buffer if self.streaming else 0  # a downloaded dataset is shuffled as a whole
        found = False
        for _, chunk in shuffled_chunks(self.read(language), START, size, [self.seed]):
            found = True
            yield from chunk
        if not found:
            raise LangcoreError(f"{self._what(language)} is empty: no row has text in the column {self.column!r}")

    def read(
        self, language: str, epoch: int = 0, share: tuple[int, int] = (0, 1), start: Position = START
    ) -> Iterator[tuple[Position, Document]]:
        """Documents of one reader among several, each with the position after it; not yet shuffled in chunks.

        If there are at least as many shards as readers, each reader reads its own shards; otherwise each reader reads
        all shards and keeps its own rows. If downloaded, each reader reads its own rows. Together the readers read
        every document once.

        Args:
            language: language of the documents.
            epoch: number of the epoch; each has its own order of shards, or of documents if they are downloaded.
            share: index of the reader, and number of readers.
            start: position to start from; earlier rows of the same shard are read again and skipped.
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
        """Shards of a reader, and its share of the rows of these shards.

        Returns:
            A function for each shard, in order, which opens the shard after a number of rows; and index of the reader
            and number of readers among which the rows of the shards are divided.
        """
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
        """SHA-256 of the settings and of the version of the dataset, see :func:`dataset_version`."""
        if self._digest is None:
            settings = [
                self.path, self.configs, self.column, self.split, self.streaming, self.shuffle_buffer, self.seed,
                self.revision, dataset_version(self.path, self.revision),
            ]  # fmt: skip
            text = json.dumps(settings, ensure_ascii=False)
            self._digest = hashlib.sha256(text.encode()).hexdigest()
        return self._digest

    def _open(self, language: str) -> Any:
        if language not in self.configs:
            raise LangcoreError(
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
