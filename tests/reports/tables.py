"""Exported tables, read back."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any


def read(file: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with file.open(newline="") as stream:
        return list(csv.DictReader(stream))


def repeated(rows: list[dict[str, Any]], key: list[str]) -> list[tuple[Any, ...]]:
    """Keys that more than one row has."""
    found = Counter(tuple(row[column] for column in key) for row in rows)
    return [one for one, times in found.items() if times > 1]
