"""Rows of JSON, CSV and TSV files, one at a time, each with its place in the file for messages."""

import csv
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning_langcore.data.sources.compression import lines, opened, opened_as_text
from lightning_langcore.data.sources.language_files import named
from lightning_langcore.utils.errors import LangcoreError

JSON_ENDINGS = (".jsonl", ".ndjson", ".json")
CSV_DELIMITERS = {".csv": ",", ".tsv": "\t"}

Row = tuple[Mapping[str, Any], str]


def read_rows(file: Path) -> Iterator[Row]:
    """The rows of a file, each with its place. Memory: one row, or the whole file if it is one JSON list.

    Args:
        file: JSON with an object on each line, or a list of objects, or one object; or CSV or TSV with a header line.

    Raises:
        LangcoreError: the file is empty or broken; a line, which is named, is not UTF-8, not JSON or not an object.
    """
    ending = named(file).ending
    if ending in CSV_DELIMITERS:
        yield from _csv_rows(file, CSV_DELIMITERS[ending])
        return
    for value, where in _json_values(file):
        if not isinstance(value, Mapping):
            raise LangcoreError(f"{where} is not an object, which has names for its values: fix or remove it")
        yield value, where


def _json_values(file: Path) -> Iterator[tuple[Any, str]]:
    with opened(file) as stream:
        first = b""
        for number, line in enumerate(lines(stream), 1):
            if not line.strip():
                continue
            where = f"{file}, line {number}"
            if first or not _continues(line):
                first = first or line
                yield _parsed(line, where), where
                continue
            # neither an object on the first line nor more of them below: the whole file is one value
            value = _parsed(line + stream.read(), f"{file} (from line {number} on)")
            items = value if isinstance(value, list) else [value]
            yield from ((item, f"{file}, item {i}") for i, item in enumerate(items, 1))
            return


def _continues(first_line: bytes) -> bool:
    """Whether the value that begins on the first line is a list, or does not end there."""
    if first_line.lstrip().startswith(b"["):
        return True
    return first_line.strip() == b"{"


def _parsed(text: bytes, where: str) -> Any:
    try:
        value = json.loads(text.decode())
    except UnicodeDecodeError as error:
        raise LangcoreError(f"{where} is not UTF-8 (byte {error.start + 1}): convert it") from error
    except (ValueError, RecursionError) as error:
        raise LangcoreError(f"{where} is not JSON ({error}): fix or remove it") from error
    if b"\\u" in text:
        _check_text(json.dumps(value, ensure_ascii=False), where)
    return value


def _csv_rows(file: Path, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(2**31 - 1)  # a document may be longer than the default of 131 072 characters
    with opened_as_text(file, newline="") as stream:
        reader = csv.DictReader(stream, delimiter=delimiter)
        try:
            for row in reader:
                yield row, f"{file}, line {reader.line_num}"
        except csv.Error as error:
            raise LangcoreError(f"{file}, line {reader.line_num} is not CSV ({error}): fix or remove it") from error


def _check_text(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise LangcoreError(f"{where} holds half a surrogate pair, which is not text: fix or remove it") from error
