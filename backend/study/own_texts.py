"""Read one's own file of texts for the Difference page: a text a line, or a column of a data file."""

from __future__ import annotations

import hashlib
import json
from functools import lru_cache
from pathlib import Path

from backend.errors import DatasetError
from backend.study.config import Study
from backend.study.dataset import source_stamp
from backend.study.tables.columns import find_texts
from backend.study.tables.data_files import read_file
from backend.study.tables.text_files import NotUnicode, decode

LINES = ".txt"
MOST, LEAST = 2000, 2
"""How many texts a file may hold; each is read by every checkpoint, and halves of them give the floor."""


def read_own_texts(study: Study) -> tuple[str, ...]:
    """Return the texts of the file in [difference], without empty ones; none if the study names no file.

    Raises DatasetError for a file that is missing, unreadable, or holds no texts, one text or too many.
    """
    if study.difference is None:
        return ()
    path = (study.folder / Path(study.difference.texts).expanduser()).resolve()
    return _read(path, study.difference.column, source_stamp(str(path)))


@lru_cache(maxsize=8)  # pages pin their study at every rerun
def _read(path: Path, column: str, _stamp: tuple[str, int, int, int] | None) -> tuple[str, ...]:
    if path.suffix.lower() == LINES:
        cells = _lines(path)
    else:
        cells = find_texts(read_file(path), column, str(path), "difference.column")
    texts = tuple(cell for cell in cells if isinstance(cell, str) and cell.strip())
    if not LEAST <= len(texts) <= MOST:
        count = f"{len(texts):,} {'text' if len(texts) == 1 else 'texts'}" if texts else "no texts"
        where = "a line" if path.suffix.lower() == LINES else f'a row of column "{column}"'
        raise DatasetError(f"{path} (difference.texts) has {count}; put {LEAST} to {MOST:,} texts there, each {where}.")
    return texts


def _lines(path: Path) -> list[str]:
    try:
        return decode(path.read_bytes(), str(path)).splitlines()
    except FileNotFoundError:
        raise DatasetError(f"{path} does not exist; correct difference.texts in study.toml.") from None
    except OSError as error:
        raise DatasetError(
            f"{path} (difference.texts) cannot be read ({error.strerror}); name a file of texts."
        ) from None
    except NotUnicode as error:
        raise DatasetError(str(error)) from None


def digest(texts: tuple[str, ...]) -> str:
    """Return a digest of texts in order."""
    return hashlib.sha256(json.dumps(texts, ensure_ascii=True).encode()).hexdigest()
