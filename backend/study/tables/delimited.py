"""Read tables with separators (CSV, TSV): the unique reading that fits every line, or an error with the line."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from backend.errors import DatasetError

Quoting = Literal[0, 3]
"""csv.QUOTE_MINIMAL, or csv.QUOTE_NONE: quotes are literal."""
SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_INVISIBLE = "\ufeff\u200b\u200e\u2060"
_LONGEST_CELL = 2**31 - 1
_DECLARED = re.compile(r'"?sep=([,;\t|])"?[ \t]*(?:\r\n|\r|\n)')
"""The first line with which Excel declares a separator."""


@dataclass(frozen=True)
class Reading:
    """A way to read the text. `rows` is the number of data lines; `ragged`: some have extra or missing empty cells.

    `problem` is the reason why it does not fit, None if it fits.
    """

    separator: str
    quoting: Quoting
    header: tuple[str, ...] = ()
    rows: int = 0
    ragged: bool = False
    problem: str | None = None


def read_delimited(text: str, place: str, usual: str) -> pd.DataFrame:
    """Return the table in the text; `usual` is the separator of the file's ending.

    Raises DatasetError unless exactly one reading fits all lines.
    """
    declared = _DECLARED.match(text)
    if declared:
        text = "\n" + text[declared.end() :]  # a blank line keeps the line numbers
    candidates = [declared[1]] if declared else [sign for sign in SEPARATORS if len(_first(text, sign)) > 1] or [usual]
    readings = [_reading(text, separator) for separator in candidates]
    fitting = [reading for reading in readings if reading.problem is None]
    if len(fitting) > 1:
        names = " and ".join(SEPARATORS[reading.separator] for reading in fitting)
        raise DatasetError(
            f"{place} can be read with more than one separator ({names} both fit every line); use a separator that is "
            f"not in the column names, or save it as .jsonl."
        )
    if not fitting:
        reading = next((reading for reading in readings if reading.separator == usual), readings[0])
        raise DatasetError(f"{place}, {reading.problem}")
    return _table(text, fitting[0], place)


def _first(text: str, separator: str) -> list[str]:
    return next(_records(text, separator, csv.QUOTE_MINIMAL, strict=False), (0, []))[1]


def _records(text: str, separator: str, quoting: Quoting, strict: bool = True) -> Iterator[tuple[int, list[str]]]:
    """Yield the first line and the cells of each record, without blank lines. Raises csv.Error."""
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=quoting, strict=strict)
    start = 1
    for cells in reader:
        if cells and not (len(cells) == 1 and cells[0].isspace()):
            yield start, cells
        start = reader.line_num + 1


def _reading(text: str, separator: str) -> Reading:
    """Read the text with this separator; quotes are literal if only this fits, as in the TSV files of GLUE."""
    quoted = _scan(text, separator, csv.QUOTE_MINIMAL)
    if separator != "\t" or '"' not in text:
        return quoted
    literal = _scan(text, separator, csv.QUOTE_NONE)
    if literal.problem is not None or any('"' in name for name in literal.header):
        return quoted
    if quoted.problem is not None:
        return literal
    if quoted.rows != literal.rows:
        problem = (
            f"line {_first_broken(text)}, starts a cell with a quote that closes on a later line, so the quotes are "
            f"ambiguous; save it as .jsonl."
        )
        return Reading(separator, csv.QUOTE_MINIMAL, problem=problem)
    return quoted


def _first_broken(text: str) -> int:
    """Return the line of the first record that spans several lines."""
    records = _records(text, "\t", csv.QUOTE_MINIMAL)
    return next(line for line, cells in records if any("\n" in cell or "\r" in cell for cell in cells))


def _scan(text: str, separator: str, quoting: Quoting) -> Reading:
    """Check that every line has as many cells as the header; extra empty cells at the end are ignored."""
    header: tuple[str, ...] = ()
    named = rows = line = 0
    ragged = False
    try:
        for line, cells in _records(text, separator, quoting):
            if not header:
                header = tuple(cells)
                named = max((i for i, name in enumerate(header, 1) if name.strip()), default=0)
                continue
            rows += 1
            if len(cells) != len(header):
                if len(cells) < named or any(cell.strip() for cell in cells[len(header) :]):
                    return Reading(
                        separator, quoting, header, problem=_width(line, len(cells), header[:named], separator)
                    )
                ragged = True
    except csv.Error:
        problem = (
            f"line {line + 1} or below, has an unclosed quote; double each quote inside a quoted text "
            f'(""), or save the file as .jsonl.'
        )
        return Reading(separator, quoting, header, problem=problem)
    return Reading(separator, quoting, header, rows, ragged)


def _width(line: int, cells: int, header: tuple[str, ...], separator: str) -> str:
    name, named = SEPARATORS.get(separator, repr(separator)), len(header)
    only = f' ("{header[0].strip()}")' if named == 1 else ""  # which may be a comment, or hold another separator
    return (
        f"line {line}, has {cells} {'cell' if cells == 1 else 'cells'} separated by a {name}, and the header names "
        f"{named}{only}; put each text that holds a {name} or a line break in double quotes and name every column."
    )


def _table(text: str, reading: Reading, place: str) -> pd.DataFrame:
    """Read the values with pandas, but keep "NA" and "null" as words."""
    if reading.ragged:
        text = _squared(text, reading)
    table = pd.read_csv(
        io.StringIO(text, newline=""),
        sep=reading.separator,
        quoting=reading.quoting,
        keep_default_na=False,
        index_col=False,
        low_memory=False,  # the type of a column must not depend on chunk boundaries
    )
    if (len(table), table.shape[1]) != (reading.rows, len(reading.header)):
        raise DatasetError(f"{place} has ambiguous quotes or line breaks; save it as .jsonl.")
    names = [_name(name) or str(default) for name, default in zip(reading.header, table.columns, strict=True)]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise DatasetError(f'{place} has two columns named "{repeated}"; rename one of them.')
    table.columns = names
    unnamed = [name for name, header in zip(names, reading.header, strict=True) if not header.strip()]
    return table.drop(columns=[name for name in unnamed if set(table[name].astype(str)) <= {""}])


def _name(header: str) -> str:
    """Return a column's name without the space and invisible marks around it, such as a second byte order mark."""
    return header.strip().strip(_INVISIBLE).strip()


def _squared(text: str, reading: Reading) -> str:
    """Rewrite the text with as many cells on each line as in the header."""
    width = len(reading.header)
    out = io.StringIO(newline="")
    quote = '"' if reading.quoting == csv.QUOTE_MINIMAL else None
    writer = csv.writer(out, delimiter=reading.separator, quoting=reading.quoting, quotechar=quote)
    for _, cells in _records(text, reading.separator, reading.quoting):
        writer.writerow((cells + [""] * width)[:width])
    return out.getvalue()
