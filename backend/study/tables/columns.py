"""Read the columns of texts and labels of a table, and compare label values."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from backend.errors import DatasetError
from backend.study.classes import is_number, value_key

_WHOLE = re.compile(r"([+-]?\d+)\.0*")
_UNLABELLED = "-1"
"""Value of a ClassLabel column without a class, by the convention of the `datasets` library."""
_CHAT = "chat messages"
_LONGEST_NAME = 40
_SHOWN = 20
_FEW = 8


def find_texts(table: pd.DataFrame, name: str, source: str, key: str = "dataset.text") -> list[Any]:
    """Return the cells of the text column, including empty ones; `key` of study.toml names the column.

    Raises DatasetError if the column is missing or does not hold texts.
    """
    cells = _cells(table, name, key, source)
    others = 0
    for row, cell in enumerate(cells):
        if isinstance(cell, str) or is_missing(cell):
            continue
        if (what := _nested(cell)) is not None:
            raise DatasetError(
                f'{source}: column "{name}" holds {what} in row {row} (counted from 0); convert it to a text, or '
                f"name a column of plain texts in {key}."
            )
        others += 1
    if others > sum(isinstance(cell, str) for cell in cells):
        first = next(cell for cell in cells if not isinstance(cell, str) and not is_missing(cell))
        raise DatasetError(
            f'{source}: column "{name}" holds values such as {first!r} instead of texts; name the text column in '
            f"{key} (columns: {_names(table)})."
        )
    return cells


def find_labels(table: pd.DataFrame, name: str, source: str) -> list[Any]:
    """Return the cells of the label column as plain Python values; -1 in a ClassLabel column is a missing label.

    Raises DatasetError if the column is missing or empty, or if a cell holds several labels.
    """
    cells = [_plain(cell) for cell in _cells(table, name, "dataset.label", source)]
    for row, cell in enumerate(cells):
        if (what := _nested(cell)) is not None:
            raise DatasetError(
                f'{source}: column "{name}" holds {what} in row {row} (counted from 0), as in multi-label or '
                f"one-hot data; use a column with one label per text."
            )
    if name in table.attrs.get("class_names", {}):
        labelled = [None if value_key(cell) == _UNLABELLED else cell for cell in cells]
        if label_values(cells) and not label_values(labelled):
            raise DatasetError(
                f'{source}: column "{name}" holds only -1, which means unlabelled, as in test splits of benchmarks; '
                f"use another split or file."
            )
        cells = labelled
    if not label_values(cells):
        raise DatasetError(f'{source}: column "{name}" is empty; name the label column in dataset.label.')
    return cells


def _cells(table: pd.DataFrame, name: str, key: str, source: str) -> list[Any]:
    column_name = next((column for column in (name, name.strip()) if column in table.columns), None)
    if column_name is None:
        hint = _hint(table, name, key)
        if not hint and any(len(str(column)) > _LONGEST_NAME or is_number(str(column)) for column in table.columns):
            hint = "; its first line looks like data, so add a first line with column names"
        raise DatasetError(f'{source} has no column "{name}" ({key}); its columns are: {_names(table)}{hint}.')
    return table[column_name].tolist()


def _hint(table: pd.DataFrame, name: str, key: str) -> str:
    """Return where the missing column may be: under another case, or inside the cells of a column."""
    similar = [str(column) for column in table.columns if str(column).strip().casefold() == name.strip().casefold()]
    if len(similar) == 1:
        return f'; write {key.rpartition(".")[2]} = "{similar[0]}"'
    for column in table.columns:
        cell = next((cell for cell in table[column].tolist() if not isinstance(cell, str) and _nested(cell)), None)
        if isinstance(cell, dict) and name in cell:
            return f'; "{_short(str(column))}" holds objects with the key {name}, so write it as a column of its own'
        if cell is not None and _CHAT in str(_nested(cell)):
            return f'; "{_short(str(column))}" holds {_nested(cell)}, so write text and label as columns of their own'
    return ""


def _names(table: pd.DataFrame) -> str:
    names = [str(column) for column in table.columns]
    return (", ".join(map(_short, names[:_SHOWN])) + (", ..." if len(names) > _SHOWN else "")).strip() or "none"


def is_missing(value: Any) -> bool:
    """Return whether a cell is missing (None, NaN, ...); an empty text is a value."""
    return value is None or (not isinstance(value, str) and bool(pd.api.types.is_scalar(value) and pd.isna(value)))


def _nested(cell: Any) -> str | None:
    """Describe a cell with several values; None for a single value."""
    if isinstance(cell, dict):
        return f"an object (with the keys {', '.join(map(str, list(cell)[:5])) or 'none'})"
    if not isinstance(cell, list | tuple | set | np.ndarray):
        return None
    items = list(cell)
    if items and all(isinstance(item, dict) and {"role", "from"} & item.keys() for item in items):
        return f"a list of {len(items)} {_CHAT}"
    kinds = {str: "texts", dict: "objects", list: "lists", np.ndarray: "lists"}
    kind = next((words for item_type, words in kinds.items() if items and isinstance(items[0], item_type)), "values")
    return f"a list of {len(items)} {kind}"


def _plain(value: Any) -> Any:
    """Convert numpy scalars to Python scalars."""
    return value.item() if isinstance(value, np.generic) else value


def label_values(raw: Sequence[Any]) -> list[Any]:
    """Return the distinct values of a label column: numbers by size, others by text; empty values are left out.

    Whole numbers become int; values that study.toml cannot list (3.5) become text.
    """
    plain = [_plain(value) for value in raw]
    values = {
        value_key(value): _listable(value)
        for value in plain
        if not is_missing(value) and str(value).strip() not in ("", "nan")
    }
    numeric = all(isinstance(value, bool) or is_number(str(value)) for value in values.values())
    return [values[key] for key in sorted(values, key=float if numeric else lambda key: str(values[key]))]


def ordered_values(cells: Sequence[Any], name: str, source: str) -> list[float | None]:
    """Return the number in each cell of an ordered label, None where it is empty.

    Raises DatasetError for a cell that is not a finite number.
    """
    numbers: list[float | None] = []
    for row, cell in enumerate(cells):
        if is_missing(cell) or not str(cell).strip():
            numbers.append(None)
            continue
        text = str(cell).strip()
        if isinstance(cell, bool) or not is_number(text) or not math.isfinite(float(text)):
            raise DatasetError(
                f'{source}: column "{name}" holds {_short(text)!r} in row {row} (counted from 0), and dataset.ordered '
                f"needs numbers; write the order as numbers, or remove dataset.ordered."
            )
        numbers.append(float(text))
    return numbers


def listed(values: Sequence[Any]) -> str:
    """The first label values for a sentence, each on one line and short."""
    return ", ".join(_short(str(value)) for value in values[:_FEW]) + (", ..." if len(values) > _FEW else "")


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_NAME else f"{line[:_LONGEST_NAME]}..."


def _listable(value: Any) -> int | str | bool:
    """Return the value in a form that study.toml can list."""
    if isinstance(value, bool | int):
        return value
    text = str(value).strip()
    return int(value_key(text)) if _WHOLE.fullmatch(text) else text
