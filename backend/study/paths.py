"""What somebody typed, found on this machine: folders, files, patterns of checkpoints, the place of a new study."""

from __future__ import annotations

import os
import re
from pathlib import Path

from backend.errors import DatasetError, LayershiftError, StudyError

DATA_KINDS = (".parquet", ".csv", ".tsv", ".json", ".jsonl", ".ndjson")
"""Endings of data files, in lower case; each may be followed by .gz."""
DATA_SUFFIXES = (*DATA_KINDS, *(f"{kind}.gz" for kind in DATA_KINDS))


def new_folder(name: str, root: Path) -> Path:
    """Where a study of that name goes. StudyError if the name is none, or taken, or nothing can be written there."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", name):
        raise StudyError(f'"{name}" cannot name a study; use letters, digits, - and _.')
    folder = root / name
    if folder.exists():
        raise StudyError(f"{folder} exists already; choose another name or remove it.")
    above = next(place for place in folder.parents if place.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise StudyError(f"{above} cannot be written to; set LAYERSHIFT_STUDIES elsewhere.")
    return folder


def source(name: str, folder: Path, data: bool = False) -> dict[str, str]:
    """`path` where there is one (or where only a path can be meant), relative inside `folder`, else a hub `repo`.

    Raises StudyError (DatasetError for `data`) for a path that does not exist.
    """
    wrong: type[LayershiftError] = DatasetError if data else StudyError
    if not name.strip():
        raise wrong("Nothing is named; give a path or a name on the hub.")
    if is_hub(name, data):
        return {"repo": name}
    place = _expanded(name, wrong)
    if not place.exists():
        raise wrong(f"{place} does not exist; correct the path.")
    return {"path": relative(place, folder)}


def is_hub(name: str, data: bool = False) -> bool:
    """Whether a name can only be meant as one on the hub: nothing is there, and it does not look like a path."""
    looks_local = name.startswith((".", "/", "~")) or (data and name.lower().endswith(DATA_SUFFIXES))
    return not looks_local and not _expanded(name, StudyError).exists()


def relative(place: Path, folder: Path) -> str:
    """Relative where the place lies inside the study's folder, absolute elsewhere."""
    return os.path.relpath(place, folder) if place.is_relative_to(folder) else str(place)


def folder_named(name: str) -> Path:
    """The folder that somebody named, absolute. StudyError if there is none."""
    place = _expanded(name, StudyError)
    if not place.is_dir():
        raise StudyError(
            f"{place} {'is a file' if place.exists() else 'does not exist'}; name the output folder of a training."
        )
    return place


def directories(patterns: tuple[str, ...]) -> list[Path]:
    """The directories that the patterns name, in the order of training as far as names say. StudyError if none."""
    found: list[Path] = []
    for pattern in filter(str.strip, patterns):
        given = _expanded(pattern, StudyError, resolved=False)
        anchor = Path(given.anchor) if given.is_absolute() else Path.cwd()
        parts = str(given.relative_to(anchor) if given.is_absolute() else given)
        try:
            found += [place.resolve() for place in anchor.glob(parts) if place.is_dir()]
        except ValueError as error:
            raise StudyError(f'"{pattern}" is no pattern of folders ({error}); correct it.') from None
    if not found:
        raise StudyError(
            f"No directory matches {' '.join(patterns)}; name the checkpoint folders or a pattern of them."
        )
    return _ordered(list(dict.fromkeys(found)), exact=len(found) == len(patterns))


def _ordered(found: list[Path], exact: bool) -> list[Path]:
    """By number where names differ in numbers only; others that were listed one by one keep the order given.

    A shell lists what its own pattern matches by text, which says nothing about the order of training.
    """
    if _alike(found):
        return sorted(found, key=natural)
    kinds = {re.sub(r"\d+", "0", place.name) for place in found}
    if exact and len(kinds) > 1 and found != sorted(found):
        return found
    return sorted(found, key=lambda place: (_numbers_apart(place.name), natural(place)))


def natural(place: Path) -> tuple[tuple[str | int, ...], ...]:
    """A key that sorts paths by the numbers in their names: checkpoint-500 before checkpoint-1000."""
    return tuple(map(_numbers_apart, place.parts))


def _numbers_apart(name: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name))


def _alike(places: list[Path]) -> bool:
    """Whether the paths differ in their numbers only, as global_step_9/actor and global_step_10/actor do."""
    return len({re.sub(r"\d+", "0", str(place)) for place in places}) == 1


def _expanded(name: str, wrong: type[LayershiftError], resolved: bool = True) -> Path:
    """The path with its ~; RuntimeError is an unknown user, ValueError a sign that no path has."""
    try:
        place = Path(name).expanduser()
        return place.resolve() if resolved else place
    except (RuntimeError, ValueError) as error:
        raise wrong(f'"{name}" is no path ({error}); correct it.') from None


def stored_name(upload: str) -> str:
    """The name under which an uploaded file is stored: no folders, plain signs. DatasetError for another kind."""
    name = upload.replace("\\", "/").rpartition("/")[2]
    suffix = next((one for one in DATA_SUFFIXES if name.lower().endswith(one)), None)
    if suffix is None:
        raise DatasetError(f'"{name}" is of a kind that Layershift cannot read; use {", ".join(DATA_KINDS)}.')
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", name[: -len(suffix)]).strip("-")[:60]
    return f"{stem or 'data'}{suffix}"
