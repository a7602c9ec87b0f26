"""Tables with separators (CSV, TSV): the one reading that fits every line, or a sentence that names the line."""

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
_LONGEST_CELL = 2**31 - 1
_DECLARED = re.compile(r'"?sep=([,;\t|])"?[ \t]*(?:\r\n|\r|\n)')
"""The first line by which Excel declares a separator."""


@dataclass(frozen=True)
class Reading:
    """One way to read the text. `rows` counts lines of data, `ragged` says that some have other empty cells at the end.

    `problem` is why it does not fit, None where it does.
    """

    separator: str
    quoting: Quoting
    header: tuple[str, ...] = ()
    rows: int = 0
    ragged: bool = False
    problem: str | None = None


def read_delimited(text: str, place: str, usual: str) -> pd.DataFrame:
    """The table in the text; `usual` is the separator that the file's ending names.

    Raises DatasetError where no reading fits all lines, or more than one does.
    """
    declared = _DECLARED.match(text)
    if declared:
        text = "\n" + text[declared.end() :]  # a blank line, so that lines keep their numbers
    wanted = [declared[1]] if declared else [one for one in SEPARATORS if len(_first(text, one)) > 1] or [usual]
    found = [_reading(text, separator) for separator in wanted]
    fitting = [one for one in found if one.problem is None]
    if len(fitting) > 1:
        names = " and ".join(SEPARATORS[one.separator] for one in fitting)
        raise DatasetError(
            f"{place} can be read with more than one separator ({names} both fit every line); save it with one that "
            f"is not in the column names, or as .jsonl."
        )
    if not fitting:
        worst = next((one for one in found if one.separator == usual), found[0])
        raise DatasetError(f"{place}, {worst.problem}")
    return _table(text, fitting[0], place)


def _first(text: str, separator: str) -> list[str]:
    return next(_records(text, separator, csv.QUOTE_MINIMAL, strict=False), (0, []))[1]


def _records(text: str, separator: str, quoting: Quoting, strict: bool = True) -> Iterator[tuple[int, list[str]]]:
    """The line on which each record starts, and its cells; blank lines are passed over. Raises csv.Error."""
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, quoting=quoting, strict=strict)
    start = 1
    for cells in reader:
        if cells and not (len(cells) == 1 and cells[0].isspace()):
            yield start, cells
        start = reader.line_num + 1


def _reading(text: str, separator: str) -> Reading:
    """The text with this separator; quotes are literal where only that fits, as in GLUE's tab-separated files."""
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
            f"line {_first_broken(text)}, starts a cell with a quote that closes on a later line, and the file can be "
            f"read with quotes or without; save it as .jsonl."
        )
        return Reading(separator, csv.QUOTE_MINIMAL, problem=problem)
    return quoted


def _first_broken(text: str) -> int:
    """The line of the first record that goes on over several lines."""
    records = _records(text, "\t", csv.QUOTE_MINIMAL)
    return next(line for line, cells in records if any("\n" in cell or "\r" in cell for cell in cells))


def _scan(text: str, separator: str, quoting: Quoting) -> Reading:
    """Whether every line has the header's cells; more, all empty, at the end of a line hold nothing."""
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
                    return Reading(separator, quoting, header, problem=_width(line, len(cells), named, separator))
                ragged = True
    except csv.Error:
        problem = (
            f"line {line + 1} or below, has a quote that does not close at the end of its cell; write each quote "
            f'inside a quoted text twice (""), or save the file as .jsonl.'
        )
        return Reading(separator, quoting, header, problem=problem)
    return Reading(separator, quoting, header, rows, ragged)


def _width(line: int, cells: int, named: int, separator: str) -> str:
    name = SEPARATORS.get(separator, repr(separator))
    return (
        f"line {line}, has {cells} {'cell' if cells == 1 else 'cells'} separated by a {name}, and the header names "
        f"{named}; put each text that holds a {name} or a line break in double quotes and name every column."
    )


def _table(text: str, reading: Reading, place: str) -> pd.DataFrame:
    """The values as pandas reads them, but no text for a missing one: "NA" and "null" are words."""
    if reading.ragged:
        text = _squared(text, reading)
    table = pd.read_csv(
        io.StringIO(text, newline=""),
        sep=reading.separator,
        quoting=reading.quoting,
        keep_default_na=False,
        index_col=False,
        low_memory=False,  # the type of a column must not depend on where a chunk ends
    )
    if (len(table), table.shape[1]) != (reading.rows, len(reading.header)):
        raise DatasetError(f"{place} has quotes or line breaks that can be read in two ways; save it as .jsonl.")
    names = [name.strip() or str(found) for name, found in zip(reading.header, table.columns, strict=True)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DatasetError(f'{place} has two columns named "{twice}"; rename one of them.')
    table.columns = names
    unnamed = [name for name, given in zip(names, reading.header, strict=True) if not given.strip()]
    return table.drop(columns=[name for name in unnamed if set(table[name].astype(str)) <= {""}])


def _squared(text: str, reading: Reading) -> str:
    """The text with as many cells on each line as the header has."""
    width = len(reading.header)
    out = io.StringIO(newline="")
    quote = '"' if reading.quoting == csv.QUOTE_MINIMAL else None
    writer = csv.writer(out, delimiter=reading.separator, quoting=reading.quoting, quotechar=quote)
    for _, cells in _records(text, reading.separator, reading.quoting):
        writer.writerow((cells + [""] * width)[:width])
    return out.getvalue()
