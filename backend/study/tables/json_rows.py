"""Rows in JSON: objects one after the other (JSON lines), an array of objects, or the columns that pandas writes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from backend.errors import DatasetError

_BLANK = re.compile(r"\s*")
_SHOWN = 8


class _Twice(ValueError):
    """A key that an object has twice."""


def starts_as_json(text: str) -> bool:
    """Whether the text begins with a whole JSON array or object, as no header of a table does."""
    start = _BLANK.match(text).end()  # pyright: ignore[reportOptionalMemberAccess]
    if text[start : start + 1] not in ("[", "{"):
        return False
    try:
        json.JSONDecoder().raw_decode(text, start)
    except json.JSONDecodeError:
        return False
    return True


def read_json_rows(text: str, place: str) -> pd.DataFrame:
    """The rows in the text. Raises DatasetError, which names the line or the row that is none."""
    values = list(_values(text, place))
    alone = values[0] if len(values) == 1 else None
    if isinstance(alone, dict):
        return _frame(_unnested(alone, place), place)
    return _frame(alone if isinstance(alone, list) else values, place)


def _values(text: str, place: str) -> Iterator[Any]:
    """Every JSON value in the text, white space between them."""
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    at = _BLANK.match(text).end()  # pyright: ignore[reportOptionalMemberAccess]
    while at < len(text):
        try:
            value, at = decoder.raw_decode(text, at)
        except json.JSONDecodeError as error:
            raise DatasetError(
                f"{place}, line {error.lineno}, is not JSON ({error.msg}); correct it, or give a table with separators "
                f"the ending .csv or .tsv."
            ) from None
        except _Twice as error:
            line = text.count("\n", 0, at) + 1
            raise DatasetError(
                f'{place} has an object with two values for "{error}" (line {line} or below); remove one of them.'
            ) from None
        except RecursionError:
            raise DatasetError(f"{place} is nested too deeply; save its rows as flat objects.") from None
        yield value
        at = _BLANK.match(text, at).end()  # pyright: ignore[reportOptionalMemberAccess]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(next(name for name in names if names.count(name) > 1))
    return found


def _unnested(value: dict[str, Any], place: str) -> Any:
    """The rows, or the columns, that one object holds; only where its shape leaves one reading."""
    rows = [key for key, item in value.items() if isinstance(item, list) and item and _all(item, dict)]
    if len(rows) == 1:
        return value[rows[0]]
    if len(rows) > 1:
        raise DatasetError(
            f"{place} holds several lists of rows ({', '.join(rows[:_SHOWN])}); save the one to use as a file of its "
            f"own."
        )
    if {"columns", "data"} <= value.keys() <= {"columns", "index", "data"}:
        return [dict(zip(value["columns"], row, strict=False)) for row in value["data"]]
    if value and _all(value.values(), list) and len({len(item) for item in value.values()}) == 1:
        return value
    if value and _all(value.values(), dict):
        return _by_index(value, place)
    if value and not any(isinstance(item, list | dict) for item in value.values()):
        return [value]
    raise DatasetError(
        f"{place} is one JSON object (its keys: {', '.join(list(value)[:_SHOWN]) or 'none'}) and its rows cannot be "
        f"told; save them as an array of objects, or one object a line."
    )


def _by_index(value: dict[str, dict[str, Any]], place: str) -> list[dict[str, Any]]:
    """Columns by the number of the row, or rows by their number: what pandas writes."""
    inner = dict.fromkeys(key for item in value.values() for key in item)
    if all(key.isdecimal() for key in inner) and not all(key.isdecimal() for key in value):
        return [{name: cells.get(key) for name, cells in value.items()} for key in inner]
    if all(key.isdecimal() for key in value) and not all(key.isdecimal() for key in inner):
        return list(value.values())
    raise DatasetError(
        f"{place} is an object of objects and its rows cannot be told from its columns; save it as an array of objects."
    )


def _all(items: Iterable[Any], kind: type) -> bool:
    return all(isinstance(item, kind) for item in items)


def _frame(rows: Any, place: str) -> pd.DataFrame:
    if isinstance(rows, list):
        wrong = next((i for i, row in enumerate(rows) if not isinstance(row, dict)), None)
        if wrong is not None:
            what = {list: "a list", str: "a text", type(None): "null"}.get(type(rows[wrong]), "a number")
            raise DatasetError(
                f"{place} has {what} as row {wrong} (the first is 0), not an object with a value per column; save each "
                f'row as {{"text": ..., "label": ...}}.'
            )
    try:
        return pd.DataFrame(rows)
    except UnicodeEncodeError as error:
        raise DatasetError(
            f"{place} holds half of a character ({ascii(error.object[error.start])[1:-1]}), which is no text; remove "
            f"it or write the whole character."
        ) from None
