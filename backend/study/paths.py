"""Resolve typed names on this machine: folders, files, checkpoint patterns, the folder of a new study."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

from backend.errors import DatasetError, LayershiftError, StudyError

DATA_KINDS = (".parquet", ".csv", ".tsv", ".json", ".jsonl", ".ndjson")
"""Endings of data files, in lower case; each may be followed by .gz."""
_WILD = re.compile(r"[*?\[]")
DATA_SUFFIXES = (*DATA_KINDS, *(f"{kind}.gz" for kind in DATA_KINDS))


def new_folder(name: str, root: Path) -> Path:
    """Return the folder of a new study. StudyError if the name is invalid or taken, or the folder not writable."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,99}", name):
        raise StudyError(f'"{name}" is not a valid study name; use up to 100 letters, digits, - and _.')
    folder = root / name
    if folder.exists():
        raise StudyError(f"{folder} already exists; choose another name or remove it.")
    parent = next(place for place in folder.parents if place.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise StudyError(f"{parent} is not writable; set LAYERSHIFT_STUDIES to another folder.")
    return folder


def source(name: str, folder: Path, data: bool = False) -> dict[str, str]:
    """Return {"path": ...} for a local path, relative inside `folder`, else {"repo": ...} for a name on the hub.

    Raises StudyError (DatasetError for `data`) for a path that does not exist.
    """
    error = _error(data)
    if not name.strip():
        raise error("The name is empty; give a path or a name on the hub.")
    if is_hub(name, data):
        return {"repo": name}
    place = _expanded(name, error)
    if not place.exists():
        raise error(f"{place} does not exist; correct the path.")
    return {"path": relative(place, folder)}


def is_hub(name: str, data: bool = False) -> bool:
    """Return whether a name refers to the hub: it exists nowhere locally and does not look like a path."""
    looks_local = name.startswith((".", "/", "~")) or (data and name.lower().endswith(DATA_SUFFIXES))
    return not looks_local and not _expanded(name, _error(data)).exists()


def _error(data: bool) -> type[LayershiftError]:
    return DatasetError if data else StudyError


def relative(place: Path, folder: Path) -> str:
    """Return a relative path inside the study's folder, an absolute one elsewhere."""
    return os.path.relpath(place, folder) if place.is_relative_to(folder) else str(place)


def folder_named(name: str) -> Path:
    """Return the absolute path of a folder. Raises StudyError if it is not a folder."""
    place = _expanded(name, StudyError)
    if not place.is_dir():
        raise StudyError(
            f"{place} {'is a file' if place.exists() else 'does not exist'}; name the output folder of a training."
        )
    return place


def directories(patterns: tuple[str, ...]) -> list[Path]:
    """Return the directories that match the patterns, ordered by their names. StudyError if none match."""
    places: list[Path] = []
    for pattern in filter(str.strip, patterns):
        places += [place for place in _matching(pattern) if place.is_dir()]
    if not places:
        raise StudyError(f"No directory matches {' '.join(patterns)}; name the checkpoint folders or a pattern.")
    return _ordered(list(dict.fromkeys(places)), exact=len(places) == len(patterns))


def _matching(pattern: str) -> list[Path]:
    """Return everything that matches a pattern, links resolved. Raises StudyError for an invalid pattern."""
    path = _expanded(pattern, StudyError, resolved=False)
    anchor = Path(path.anchor) if path.is_absolute() else Path.cwd()
    parts = str(path.relative_to(anchor) if path.is_absolute() else path)
    try:
        return [place.resolve() for place in anchor.glob(parts)]
    except (ValueError, NotImplementedError, OSError) as error:
        raise StudyError(f'"{pattern}" is not a valid pattern of folders ({error}); correct it.') from None


def _ordered(places: list[Path], exact: bool) -> list[Path]:
    """Sort by number if names differ in numbers only; folders listed one by one keep their order.

    A shell expands a pattern in text order, which is unrelated to the order of training.
    """
    if _alike(places):
        return sorted(places, key=natural)
    kinds = {re.sub(r"\d+", "0", place.name) for place in places}
    if exact and len(kinds) > 1 and places != sorted(places):
        return places
    return sorted(places, key=lambda place: (_numbers_apart(place.name), natural(place)))


def natural(place: Path) -> tuple[tuple[str | int, ...], ...]:
    """Return a sort key by the numbers in a path: checkpoint-500 before checkpoint-1000."""
    return tuple(map(_numbers_apart, place.parts))


def _numbers_apart(name: str) -> tuple[str | int, ...]:
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name))


def _alike(places: list[Path]) -> bool:
    """Return whether paths differ in numbers only, such as global_step_9/actor and global_step_10/actor."""
    return len({re.sub(r"\d+", "0", str(place)) for place in places}) == 1


def _expanded(name: str, error: type[LayershiftError], resolved: bool = True) -> Path:
    """Expand ~ in a path; RuntimeError is an unknown user, ValueError an invalid character, OSError a long name."""
    try:
        place = Path(name).expanduser()
        whole = place.resolve()
        whole.exists()
        return whole if resolved else place
    except (RuntimeError, ValueError, OSError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else cause
        raise error(f'"{name}" is not a valid path ({reason}); correct it.') from None


def confine(name: str, folders: Sequence[Path]) -> str:
    """Return a typed path or pattern that stays inside one of the folders, links resolved, or a name on the hub.

    Raises StudyError, without a look at a place outside.
    """
    parts = Path(name).parts
    fixed = next((i for i, part in enumerate(parts) if _WILD.search(part)), len(parts))
    is_path = name.startswith((".", "/", "~")) or ".." in parts
    outside = StudyError(
        f'"{name}" is outside the folders that this server opens ({", ".join(map(str, folders))}); move the files '
        f"there, or start the server with LAYERSHIFT_PATHS set to their folder."
    )
    if ".." in parts[fixed:]:
        raise outside
    place = _expanded(str(Path(*parts[:fixed])), StudyError)
    if not _is_inside(place, folders) and (is_path or place.exists()):
        raise outside
    if fixed < len(parts) and not all(_is_inside(match, folders) for match in _matching(name)):
        raise outside
    return name


def _is_inside(place: Path, folders: Sequence[Path]) -> bool:
    return any(place.is_relative_to(folder) for folder in folders)


def stored_name(upload: str) -> str:
    """Return a safe file name for an upload, without folders. Raises DatasetError for an unknown file type."""
    name = upload.replace("\\", "/").rpartition("/")[2]
    suffix = next((ending for ending in DATA_SUFFIXES if name.lower().endswith(ending)), None)
    if suffix is None:
        raise DatasetError(f'"{name}" has an unsupported file type; use {", ".join(DATA_KINDS)}.')
    stem = re.sub(r"[^A-Za-z0-9_-]+", "-", name[: -len(suffix)]).strip("-")[:60]
    return f"{stem or 'data'}{suffix}"
