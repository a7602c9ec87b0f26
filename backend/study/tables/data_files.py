"""Read data files as tables: unambiguous content is read, everything else is an error with its cause."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from backend.errors import DatasetError
from backend.study.paths import DATA_KINDS
from backend.study.tables.arrow_datasets import CLASS_NAMES, read_saved, with_class_names
from backend.study.tables.delimited import read_delimited
from backend.study.tables.json_rows import read_json_rows, starts_as_json
from backend.study.tables.text_files import NotUnicode, decode

_GZIP, _PARQUET = b"\x1f\x8b", b"PAR1"
_USUAL = {".csv": ",", ".tsv": "\t"}
_SHEETS = (".xlsx", ".xls", ".xlsm", ".ods")
_FOREIGN = (
    (b"version https://git-lfs", "is a Git LFS pointer, not the data; fetch the file with `git lfs pull`"),
    (b"<!doctype html", "is a web page (HTML), not data; download the file itself"),
    (b"<html", "is a web page (HTML), not data; download the file itself"),
    (b"<?xml", "is XML; save its rows as .csv or .jsonl"),
    (b"PK\x03\x04", "is a ZIP archive or a spreadsheet; unpack it, or save the sheet as .csv (UTF-8)"),
    (b"\xd0\xcf\x11\xe0", "is a spreadsheet of Excel; save the sheet as .csv (UTF-8)"),
    (b"ARROW1", "is an Arrow file; save the table as .parquet"),
    (b"%PDF", "is a PDF; save its texts as .csv or .jsonl"),
    (b"BZh", "is compressed by bzip2; unpack it, or compress it with gzip"),
    (b"\xfd7zXZ", "is compressed by xz; unpack it, or compress it with gzip"),
    (b"\x28\xb5\x2f\xfd", "is compressed by zstd; unpack it, or compress it with gzip"),
)
"""First bytes of unsupported files, text in lower case, with description and remedy."""


def read_file(path: Path, content: bytes | None = None, split: str = "test") -> pd.DataFrame:
    """Read a data file, uploaded `content`, or a folder written by save_to_disk. Raises DatasetError.

    `attrs["class_names"]` of the table holds the class names in the file, {column: names}.
    """
    if content is None and path.is_dir():
        return _with_rows(read_saved(path, split), path)
    kind = _kind(path)
    content = _unpacked(_bytes(path) if content is None else content, path)
    _refuse_foreign(content, path)
    if content.startswith(_PARQUET):
        return _with_rows(_read_parquet(content, path), path)
    if kind == ".parquet":
        raise DatasetError(f"{path} is not a complete Parquet file; correct its ending, or copy it again.")
    try:
        text = decode(content, str(path))
    except NotUnicode as error:
        raise DatasetError(str(error)) from None
    if kind in _USUAL and not starts_as_json(text):
        return _with_rows(read_delimited(text, str(path), _USUAL[kind]), path)
    return _with_rows(read_json_rows(text, str(path)), path)


def _kind(path: Path) -> str:
    """Return the ending that determines the file type, in lower case."""
    name = path.name.lower()
    kind = next((ending for ending in DATA_KINDS if name.removesuffix(".gz").endswith(ending)), None)
    if kind is not None:
        return kind
    if name.endswith(_SHEETS):
        raise DatasetError(f"{path} is a spreadsheet; save the sheet with the texts as .csv (UTF-8) and use this file.")
    raise DatasetError(
        f"{path} has an unsupported file type; use {', '.join(DATA_KINDS[:-1])} or {DATA_KINDS[-1]}, optionally "
        f"with .gz."
    )


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(
            f"{path} does not exist; correct the data path in study.toml or put the file there."
        ) from None
    except OSError as error:
        raise DatasetError(f"{path} cannot be read ({error.strerror}); repair or replace the file.") from None


def _unpacked(content: bytes, path: Path) -> bytes:
    """Decompress gzip content, recognized by its first bytes."""
    if not content.startswith(_GZIP):
        return content
    try:
        return gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"{path} cannot be unpacked ({error}); copy the .gz file again.") from None


def _refuse_foreign(content: bytes, path: Path) -> None:
    """Raise DatasetError for empty or unsupported content."""
    start = content.removeprefix(b"\xef\xbb\xbf").lstrip()[:512]
    if not start:
        raise DatasetError(f"{path} is empty; put labelled texts there or name another file.")
    for mark, problem in _FOREIGN:
        if mark in (start[: len(mark)], start[: len(mark)].lower()):
            raise DatasetError(f"{path} {problem}.")


def _read_parquet(content: bytes, path: Path) -> pd.DataFrame:
    """Return all columns, including those of a pandas index."""
    try:
        arrow_table = _as_text(pq.ParquetFile(io.BytesIO(content)).read())
        table = arrow_table.to_pandas(ignore_metadata=True)
    except (ValueError, OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DatasetError(f"{path} cannot be read as Parquet ({reason}); copy or save the file again.") from None
    if not table.columns.is_unique:
        repeated = table.columns[table.columns.duplicated()][0]
        raise DatasetError(f'{path} has two columns named "{repeated}"; rename one of them.')
    unnamed = [name for name in table.columns if str(name).startswith("__index_level_")]
    return with_class_names(table.drop(columns=unnamed), _features(arrow_table.schema))


def _as_text(table: pa.Table) -> pa.Table:
    """Return the table with columns of bytes as texts where all of them are UTF-8, as some writers leave texts."""
    for i, field in enumerate(table.schema):
        if pa.types.is_binary(field.type) or pa.types.is_large_binary(field.type):
            with suppress(pa.ArrowInvalid):
                table = table.set_column(i, field.name, table.column(i).cast(pa.large_string()))
    return table


def _features(schema: pa.Schema) -> Mapping[str, Any]:
    """Return the column features that `datasets` wrote into the metadata of the file, empty without them."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
    except (ValueError, KeyError, TypeError):
        return {}
    return features if isinstance(features, Mapping) else {}


def _with_rows(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    if table.empty:
        raise DatasetError(
            f"{path} has no rows (its columns: {', '.join(map(str, table.columns)) or 'none'}); add labelled texts."
        )
    table.attrs.setdefault(CLASS_NAMES, {})
    return table
