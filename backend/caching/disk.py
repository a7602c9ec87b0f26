"""Bytes by text key in a diskcache folder: no pickle, damage is repaired, LRU eviction."""

from __future__ import annotations

import re
import shutil
import sqlite3
import time
import zlib
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import DBNAME, DEFAULT_SETTINGS, METADATA, MODE_BINARY, MODE_RAW
from filelock import FileLock, Timeout

from backend.caching.serialize import ForeignEntry

SECONDS = 10
"""Seconds that a server waits for another server's write to the index."""

UNCLAIMED = 3600.0
"""Age in seconds from which a value file without an index entry is a leftover."""

OPEN_LOCK = "open.lock"

_SETTINGS: dict[str, Any] = {
    "eviction_policy": "least-recently-used",  # a read updates the access time; `evict` deletes
    "cull_limit": 0,  # diskcache would evict ten entries at a time, of any size
    "size_limit": 2**62,
    "statistics": 0,
    "tag_index": 0,
    "sqlite_mmap_size": 0,  # with mmap, truncation by another process crashes instead of raising
}
_COLUMNS = "rowid, key, raw, store_time, expire_time, access_time, access_count, tag, size, mode, filename, value"
_VALUE_FILE = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")
_MAGIC = b"LSH1"
_DAMAGE = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_ERROR,  # a missing table or column
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
}


class BytesDisk(diskcache.Disk):
    """A diskcache `Disk` for text keys and bytes without pickle (CVE-2025-69872).

    Rows of any other kind raise ForeignEntry unread. Small values are in the index, others in files next to it.
    """

    def put(self, key: Any) -> Any:
        """Return (key, True): a text key is stored unchanged."""
        if type(key) is not str:
            raise TypeError(f"A cache key is text, not a {type(key).__name__}.")
        return key, True

    def get(self, key: Any, raw: Any) -> str:
        """Return the key; the inverse of `put`."""
        if type(key) is not str or not raw:
            raise ForeignEntry("The cache holds a key that is not text.")
        return key

    def store(self, value: Any, read: bool, key: Any = None) -> Any:
        """Return the row of `value`: size, mode, file name or None, inline value or None. Removes partial files."""
        if type(value) is not bytes or read:
            raise TypeError(f"A cache value is bytes, not a {type(value).__name__}.")
        if len(value) < self.min_file_size:
            return 0, MODE_RAW, None, value
        name, path = self.filename()
        try:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_bytes(value)
        except OSError:
            self.remove(name)
            raise
        return len(value), MODE_BINARY, name, None

    def fetch(self, mode: Any, filename: Any, value: Any, read: bool) -> bytes:
        """Return the value of a row. Raises FileNotFoundError if its file was just evicted."""
        if mode == MODE_RAW and type(value) is bytes and not read:
            return value
        if mode == MODE_BINARY and _is_value_file(filename) and not read:
            return Path(self._directory, filename).read_bytes()
        raise ForeignEntry("The cache holds a value that is not plain bytes.")

    def remove(self, file_path: Any) -> None:
        """Delete a value file; ignore names that `store` does not create."""
        if _is_value_file(file_path):
            super().remove(file_path)


def _is_value_file(filename: Any) -> bool:
    """Return whether `store` creates this file name, which is then inside the folder."""
    return type(filename) is str and _VALUE_FILE.fullmatch(filename) is not None


def seal(value: bytes) -> bytes:
    """Return `value` with a magic number and a checksum in front, to detect damage."""
    return _MAGIC + zlib.crc32(value).to_bytes(4, "little") + value


def unseal(sealed: bytes) -> bytes:
    """Return the value; the inverse of `seal`. Raises ForeignEntry for a wrong checksum."""
    value = sealed[8:]
    if sealed[:4] != _MAGIC or int.from_bytes(sealed[4:8], "little") != zlib.crc32(value):
        raise ForeignEntry("The entry is damaged.")
    return value


def code_of(error: BaseException) -> int | None:
    """Return the primary SQLite result code of an error, or None; diskcache wraps it in its own Timeout."""
    cause = error.__context__ if isinstance(error, diskcache.Timeout) else error
    code = getattr(cause, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def is_damage(error: BaseException) -> bool:
    """Return whether an error means that the index is broken or not a cache index."""
    return isinstance(error, sqlite3.Error) and code_of(error) in _DAMAGE


def open_index(folder: Path, deep: bool = False) -> tuple[diskcache.Cache, bool]:
    """Open the diskcache in `folder`; return it, and whether a damaged index was replaced.

    `deep` checks every page of the index. A damaged or foreign index is renamed to `cache.db.damaged`, and its values
    are deleted. Raises OSError or sqlite3.Error if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "locks").mkdir(exist_ok=True)
    with FileLock(str(folder / "locks" / OPEN_LOCK), timeout=6 * SECONDS):  # two servers may start at once
        damaged = not _sound(folder / DBNAME, deep)
        if damaged:
            _set_aside(folder)
        _sweep(folder)
        try:
            return _open(folder), damaged
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
        _set_aside(folder)
        return _open(folder), True


def _open(folder: Path) -> diskcache.Cache:
    return diskcache.Cache(str(folder), timeout=SECONDS, disk=BytesDisk, **_SETTINGS)


def _sound(index: Path, deep: bool) -> bool:
    """Return whether the index is absent, empty or valid; with `deep`, check every page."""
    if not index.exists() or not index.stat().st_size:
        return True
    try:
        with closing(_connect(index, "mode=rw")) as connection:
            settings = connection.execute("SELECT key, typeof(value) FROM Settings").fetchall()
            connection.execute(f"SELECT {_COLUMNS} FROM Cache LIMIT 0")
            checked = connection.execute("PRAGMA quick_check(1)").fetchone() if deep else ("ok",)
    except sqlite3.Error as error:
        if is_damage(error):
            return False
        raise
    known = {*DEFAULT_SETTINGS, *METADATA}
    return checked == ("ok",) and all(key in known and kind in ("integer", "real", "text") for key, kind in settings)


def _set_aside(folder: Path) -> None:
    """Rename the index (the newest damaged one is kept) and delete its values."""
    (folder / DBNAME).replace(folder / f"{DBNAME}.damaged")
    for suffix in ("-wal", "-shm", "-journal"):  # SQLite would replay a leftover log into the new index
        (folder / f"{DBNAME}{suffix}").unlink(missing_ok=True)
    for part in folder.glob("[0-9a-f][0-9a-f]"):
        shutil.rmtree(part, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Delete leftovers of killed processes: lock files, and value files without an index entry.

    A lock file that no process holds shows that a process was killed; only then the values are searched.
    """
    killed = False
    for file in (folder / "locks").glob("*.lock"):
        if file.name == OPEN_LOCK:
            continue
        lock = FileLock(str(file), timeout=0)
        try:
            with lock:
                file.unlink(missing_ok=True)
            killed = True
        except Timeout:
            continue
    if not killed or not (folder / DBNAME).exists():
        return
    with closing(_connect(folder / DBNAME, "mode=rw")) as connection:
        indexed = {name for (name,) in connection.execute("SELECT filename FROM Cache WHERE filename IS NOT NULL")}
    for file in folder.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]/*.val"):
        if str(file.relative_to(folder)) not in indexed and file.stat().st_mtime < time.time() - UNCLAIMED:
            file.unlink(missing_ok=True)


def _connect(index: Path, options: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{index.absolute().as_uri()}?{options}", uri=True, timeout=SECONDS, isolation_level=None)


def read_only_get(folder: Path, key: str) -> bytes | None:
    """Return the sealed value of `key` without writing, for a read-only or busy folder; None if absent."""
    try:
        row = _look_up(folder, key, "mode, filename, value")
        return None if row is None else BytesDisk(str(folder)).fetch(*row, read=False)
    except OSError:
        return None


def kept_at(folder: Path, key: str) -> float | None:
    """Return when `key` was written, in seconds since 1970; None if it is absent."""
    row = _look_up(folder, key, "store_time")
    return None if row is None else float(row[0])


def _look_up(folder: Path, key: str, columns: str) -> tuple[Any, ...] | None:
    """Read columns of the index for `key` without writing.

    An index in WAL mode cannot be opened read-only if its shared-memory file cannot be created. Without a pending log,
    it is read as immutable instead.
    """
    index = folder / DBNAME
    log = folder / f"{DBNAME}-wal"
    query = f"SELECT {columns} FROM Cache WHERE key = ? AND raw = 1"
    for options in ("mode=ro", "mode=ro&immutable=1"):
        try:
            if "immutable" in options and log.exists() and log.stat().st_size:
                return None
            with closing(_connect(index, options)) as connection:
                return connection.execute(query, (key,)).fetchone()
        except (OSError, sqlite3.Error):
            continue
    return None


@dataclass(frozen=True)
class Usage:
    """What the cache keeps for a study; `study` is None for entries that several share, and for earlier versions'."""

    study: str | None
    entries: int
    size: int


def usage(folder: Path) -> list[Usage]:
    """Return entries and bytes by study, the largest first; none for a folder without a readable index."""
    query = "SELECT tag, COUNT(*), SUM(size + COALESCE(LENGTH(value), 0)) FROM Cache GROUP BY tag ORDER BY 3 DESC, tag"
    try:
        with closing(_connect(folder / DBNAME, "mode=ro")) as connection:
            rows = connection.execute(query).fetchall()
    except (OSError, sqlite3.Error):
        return []
    return [Usage(tag if type(tag) is str else None, count, size) for tag, count, size in rows]


def evict(store: diskcache.Cache, limit: int) -> None:
    """Delete the least recently used entries, one by one, until index and values fit into `limit` bytes."""
    oldest = "DELETE FROM Cache WHERE rowid = (SELECT rowid FROM Cache ORDER BY access_time LIMIT 1) RETURNING filename"
    if store.volume() <= limit:
        return
    with closing(_connect(Path(store.directory) / DBNAME, "mode=rw")) as connection:
        while store.volume() > limit:
            rows = connection.execute(oldest).fetchall()
            if not rows:
                return
            store.disk.remove(rows[0][0])
