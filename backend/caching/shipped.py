"""Results that ship with a study, in a zip file by their keys in the cache.

They hold only for the code that computed them: each file names a digest of it, and entries of other code are ignored.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

FILE = "results.zip"
"""The file's name in a study's folder."""

BACKEND = Path(__file__).parents[1]
SHARED = (
    *("study", "models", "stats", "vocabulary", "lab", "derived", "caching/serialize.py"),
    *("training/autoencoder.py", "training/local_autoencoders.py", "training/topk.py"),
)
"""Folders and files of the backend that can change any result; an analysis also depends on its own file."""

KINDS = ("analyses.", "derived.", "tokenizer/", "comparable/", "opens/")
"""Prefixes of the keys to ship: results and facts that depend on content, not on paths or speed of this machine."""
_CODE = "code.json"


class Shipped:
    """Read-only results of zip files: bytes by text key. A damaged or unreadable file counts as empty.

    `used` holds the keys that were found.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self.used: set[str] = set()
        self._files = tuple(files)
        self._lock = Lock()
        self._places: dict[str, zipfile.ZipFile] | None = None

    def get(self, key: str) -> bytes | None:
        """Return the bytes that are shipped under `key`; None if there are none, or if other code computed them."""
        with self._lock:  # a zip file has one position for all threads
            if self._places is None:
                self._places = {name: archive for file in self._files for name, archive in _current(file)}
            archive = self._places.get(key)
            if archive is None:
                return None
            try:
                value = archive.read(key)
            except (OSError, zipfile.BadZipFile, zlib.error, NotImplementedError):
                del self._places[key]
                return None
            self.used.add(key)
            return value


def ship(entries: Mapping[str, bytes], file: Path) -> int:
    """Write the entries of `KINDS` to a zip file, and return its size in bytes."""
    names = sorted(key for key in entries if key.startswith(KINDS))
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in names:
            archive.writestr(zipfile.ZipInfo(name), entries[name], zipfile.ZIP_DEFLATED)
        code = {part: code_digest(part) for part in sorted(set(map(_part, names)))}
        archive.writestr(zipfile.ZipInfo(_CODE), json.dumps(code))
    return file.stat().st_size


def stale(file: Path, digest: Callable[[str], str] | None = None) -> list[str]:
    """Return the parts of the backend whose code changed since the file was written."""
    with zipfile.ZipFile(file) as archive:
        code: dict[str, str] = json.loads(archive.read(_CODE))
    return [part for part, value in code.items() if value != (digest or code_digest)(part)]


@cache
def code_digest(part: str) -> str:
    """Return 64 hex digits of the code that computes the results of an analysis, such as "analyses/pca.py"."""
    total = _of_shared_rooms().copy()
    if part:
        total.update(_content(BACKEND / part))
    return total.hexdigest()


@cache
def _of_shared_rooms() -> Any:
    """Return the digest of the code that all results depend on; to copy, because it is read once."""
    total = hashlib.sha256()
    for name in SHARED:
        for file in _python(BACKEND / name):
            total.update(_content(file))
    return total


def _content(file: Path) -> bytes:
    content = file.read_bytes().replace(b"\r\n", b"\n") if file.is_file() else b""
    return f"{file.relative_to(BACKEND).as_posix()} {len(content)}\n".encode() + content


def _python(place: Path) -> list[Path]:
    return [place] if place.suffix else sorted(place.rglob("*.py"), key=lambda file: file.as_posix())


def _part(key: str) -> str:
    """Return the file of an analysis, from a key such as `analyses.pca.recipe/1.1/...`; "" for a shared room."""
    room, _, rest = key.partition(".")
    return f"{room}/{rest.partition('.')[0]}.py" if room == "analyses" else ""


def _current(file: Path) -> list[tuple[str, zipfile.ZipFile]]:
    """Return the entries of a file that the present code computed."""
    try:
        old, archive = set(stale(file)), zipfile.ZipFile(file)
        return [(name, archive) for name in archive.namelist() if name != _CODE and _part(name) not in old]
    except (OSError, zipfile.BadZipFile, zlib.error, KeyError, ValueError, AttributeError):
        return []
