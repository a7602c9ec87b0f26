"""Read rows in JSON: JSON lines, an array of objects, or the formats of pandas."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd

from backend.errors import DatasetError

_BLANK = re.compile(r"\s*")
_BETWEEN = re.compile(r"\s*,?\s*")
_TEXT = r'"(?:[^"\\\n]|\\.)*"'
_LAST_COMMA = re.compile(rf"({_TEXT})|,(?=\s*[\]}}])")
_SHOWN = 8


class _RepeatedKey(ValueError):
    """A repeated key in an object."""


def starts_as_json(text: str) -> bool:
    """Return whether the text starts with a complete JSON array or object, unlike the header of a table."""
    start = _BLANK.match(text).end()  # pyright: ignore[reportOptionalMemberAccess]
    if text[start : start + 1] not in ("[", "{"):
        return False
    try:
        json.JSONDecoder().raw_decode(text, start)
    except json.JSONDecodeError:
        return False
    return True


def read_json_rows(text: str, place: str) -> pd.DataFrame:
    """Return the rows in the text; a comma after the last value of a list or an object is ignored.

    Raises DatasetError, which names the invalid line or row.
    """
    try:
        values = list(_values(text, place))
    except DatasetError:
        closed = _LAST_COMMA.sub(lambda found: found[1] or " ", text)
        if closed == text:
            raise
        values = list(_values(closed, place))
    alone = values[0] if len(values) == 1 else None
    if isinstance(alone, dict):
        return _frame(_unnested(alone, place), place)
    return _frame(alone if isinstance(alone, list) else values, place)


def _values(text: str, place: str) -> Iterator[Any]:
    """Yield every JSON value in the text, with or without commas between them."""
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    position = _BLANK.match(text).end()  # pyright: ignore[reportOptionalMemberAccess]
    while position < len(text):
        try:
            value, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise _not_json(text, error, place) from None
        except _RepeatedKey as error:
            line = text.count("\n", 0, position) + 1
            raise DatasetError(
                f'{place} has an object with two values for "{error}" (line {line} or below); remove one of them.'
            ) from None
        except RecursionError:
            raise DatasetError(f"{place} is nested too deeply; save its rows as flat objects.") from None
        yield value
        position = _BETWEEN.match(text, position).end()  # pyright: ignore[reportOptionalMemberAccess]


def _not_json(text: str, error: json.JSONDecodeError, place: str) -> DatasetError:
    """Return the error for text that is no JSON, with its cause where it is known."""
    start = f"{place}, line {error.lineno}, is not JSON"
    if text[error.pos : error.pos + 1] == "'":
        return DatasetError(f"{start}: it has single quotes, as Python prints rows; write them with json.dumps.")
    if error.msg.startswith("Invalid control character"):
        return DatasetError(
            f"{start}: a text holds a line break or a tab; write them as \\n and \\t, as json.dumps does."
        )
    return DatasetError(
        f"{start} ({error.msg}); correct it, or use the ending .csv or .tsv for a table with separators."
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        names = [name for name, _ in pairs]
        raise _RepeatedKey(next(name for name in names if names.count(name) > 1))
    return result


def _unnested(value: dict[str, Any], place: str) -> Any:
    """Return the rows or columns in an object, if its structure is unambiguous."""
    rows = [key for key, item in value.items() if isinstance(item, list) and item and _all(item, dict)]
    if len(rows) == 1:
        return value[rows[0]]
    if len(rows) > 1:
        raise DatasetError(
            f"{place} holds several lists of rows ({', '.join(rows[:_SHOWN])}); save one of them as a separate file."
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
        f"{place} is one JSON object (its keys: {', '.join(list(value)[:_SHOWN]) or 'none'}) with unknown rows; save "
        f"them as an array of objects, or one object per line."
    )


def _by_index(value: dict[str, dict[str, Any]], place: str) -> list[dict[str, Any]]:
    """Return the rows of columns by row number, or of rows by number, as pandas writes them."""
    inner = dict.fromkeys(key for item in value.values() for key in item)
    if all(key.isdecimal() for key in inner) and not all(key.isdecimal() for key in value):
        return [{name: cells.get(key) for name, cells in value.items()} for key in inner]
    if all(key.isdecimal() for key in value) and not all(key.isdecimal() for key in inner):
        return list(value.values())
    raise DatasetError(
        f"{place} is an object of objects with ambiguous rows and columns; save it as an array of objects."
    )


def _all(items: Iterable[Any], kind: type) -> bool:
    return all(isinstance(item, kind) for item in items)


def _frame(rows: Any, place: str) -> pd.DataFrame:
    if isinstance(rows, list):
        wrong = next((i for i, row in enumerate(rows) if not isinstance(row, dict)), None)
        if wrong is not None:
            what = {list: "a list", str: "a text", type(None): "null"}.get(type(rows[wrong]), "a number")
            raise DatasetError(
                f"{place} has {what} as row {wrong} (counted from 0) instead of an object; save each "
                f'row as {{"text": ..., "label": ...}}.'
            )
    try:
        return pd.DataFrame(rows)
    except UnicodeEncodeError as error:
        raise DatasetError(
            f"{place} holds half of a character ({ascii(error.object[error.start])[1:-1]}), which is invalid text; "
            f"remove it or write the whole character."
        ) from None
