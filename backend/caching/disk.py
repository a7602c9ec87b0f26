"""Bytes by text key in a diskcache folder that never pickles, mends itself, and evicts the least recently used."""

from __future__ import annotations

import re
import shutil
import sqlite3
import time
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import diskcache
from diskcache.core import DBNAME, DEFAULT_SETTINGS, METADATA, MODE_BINARY, MODE_RAW
from filelock import FileLock, Timeout

from backend.caching.serialize import ForeignEntry

SECONDS = 10
"""How long one server waits for another's write to the index."""

UNCLAIMED = 3600.0
"""Seconds after which a value file that the index does not know cannot be a write under way."""

OPEN_LOCK = "open.lock"

_SETTINGS: dict[str, Any] = {
    "eviction_policy": "least-recently-used",  # a read stamps the entry; eviction itself is `evict`
    "cull_limit": 0,  # diskcache would evict ten entries at a time, however large
    "size_limit": 2**62,
    "statistics": 0,
    "tag_index": 0,
    "sqlite_mmap_size": 0,  # a mapped index that another process truncates is a crash, not an error
}
_COLUMNS = "rowid, key, raw, store_time, expire_time, access_time, access_count, tag, size, mode, filename, value"
_VALUE_FILE = re.compile(r"[0-9a-f]{2}/[0-9a-f]{2}/[0-9a-f]{28}\.val")
_MAGIC = b"LSH1"
_DAMAGE = {
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_FORMAT,
    sqlite3.SQLITE_ERROR,  # a table or column that is not there
    sqlite3.SQLITE_CONSTRAINT,
    sqlite3.SQLITE_MISMATCH,
}


class BytesDisk(diskcache.Disk):
    """A diskcache `Disk` for text keys and bytes: it neither writes nor reads pickles (CVE-2025-69872).

    A row of any other kind is a ForeignEntry, unread. Small values lie in the index, others in files beside it.
    """

    def put(self, key: Any) -> Any:
        """(key, True): a key is text as it stands."""
        if type(key) is not str:
            raise TypeError(f"A cache key is text, not a {type(key).__name__}.")
        return key, True

    def get(self, key: Any, raw: Any) -> str:
        """The inverse of `put`."""
        if type(key) is not str or not raw:
            raise ForeignEntry("The cache holds a key that is not text.")
        return key

    def store(self, value: Any, read: bool, key: Any = None) -> Any:
        """The row of `value`: size, mode, file name or None, inline value or None. No half-written file is left."""
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
        """The value of a row; FileNotFoundError if its file has just been evicted."""
        if mode == MODE_RAW and type(value) is bytes and not read:
            return value
        if mode == MODE_BINARY and _ours(filename) and not read:
            return Path(self._directory, filename).read_bytes()
        raise ForeignEntry("The cache holds a value that is not plain bytes.")

    def remove(self, file_path: Any) -> None:
        """Delete a value file; a name that is not one of ours is left alone."""
        if _ours(file_path):
            super().remove(file_path)


def _ours(filename: Any) -> bool:
    """Whether a file name in a row is one that `store` gives, and so lies inside the folder."""
    return type(filename) is str and _VALUE_FILE.fullmatch(filename) is not None


def seal(value: bytes) -> bytes:
    """`value` behind a mark and a checksum, so that damage to it is noticed."""
    return _MAGIC + zlib.crc32(value).to_bytes(4, "little") + value


def unseal(sealed: bytes) -> bytes:
    """The inverse of `seal`; ForeignEntry if a bit is wrong."""
    value = sealed[8:]
    if sealed[:4] != _MAGIC or int.from_bytes(sealed[4:8], "little") != zlib.crc32(value):
        raise ForeignEntry("The entry is damaged.")
    return value


def code_of(error: BaseException) -> int | None:
    """The primary SQLite result code behind an error, or None; diskcache hides it behind its own Timeout."""
    cause = error.__context__ if isinstance(error, diskcache.Timeout) else error
    code = getattr(cause, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def is_damage(error: BaseException) -> bool:
    """Whether an error means that the index itself is broken or not ours."""
    return isinstance(error, sqlite3.Error) and code_of(error) in _DAMAGE


def open_index(folder: Path, deep: bool = False) -> tuple[diskcache.Cache, bool]:
    """The diskcache in `folder`, and whether a damaged index had to be set aside first.

    `deep` checks every page of the index. A damaged or foreign one becomes `cache.db.damaged`, and its values, which
    nothing could find any more, are deleted. Raises OSError or sqlite3.Error when the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "locks").mkdir(exist_ok=True)
    with FileLock(str(folder / "locks" / OPEN_LOCK), timeout=6 * SECONDS):  # two servers may start at once
        aside = not _sound(folder / DBNAME, deep)
        if aside:
            _set_aside(folder)
        _sweep(folder)
        try:
            return _open(folder), aside
        except sqlite3.Error as error:
            if not is_damage(error):
                raise
        _set_aside(folder)
        return _open(folder), True


def _open(folder: Path) -> diskcache.Cache:
    return diskcache.Cache(str(folder), timeout=SECONDS, disk=BytesDisk, **_SETTINGS)


def _sound(index: Path, deep: bool) -> bool:
    """Whether the index is absent, empty, or one of ours; every page is checked if `deep`."""
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
    """Rename the index (the newest damaged one is kept) and delete what only it could find."""
    (folder / DBNAME).replace(folder / f"{DBNAME}.damaged")
    for suffix in ("-wal", "-shm", "-journal"):  # a left-over log would be replayed into the fresh index
        (folder / f"{DBNAME}{suffix}").unlink(missing_ok=True)
    for part in folder.glob("[0-9a-f][0-9a-f]"):
        shutil.rmtree(part, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Delete what a killed process left: its lock files, and value files that never reached the index.

    A lock file that nobody holds means that somebody was killed; only then are the values looked through.
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
        known = {name for (name,) in connection.execute("SELECT filename FROM Cache WHERE filename IS NOT NULL")}
    for file in folder.glob("[0-9a-f][0-9a-f]/[0-9a-f][0-9a-f]/*.val"):
        if str(file.relative_to(folder)) not in known and file.stat().st_mtime < time.time() - UNCLAIMED:
            file.unlink(missing_ok=True)


def _connect(index: Path, options: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{index.absolute().as_uri()}?{options}", uri=True, timeout=SECONDS, isolation_level=None)


def glance(folder: Path, key: str) -> bytes | None:
    """The sealed value of `key` without writing anything, for a folder that is read-only or busy; None if not there."""
    try:
        row = _look_up(folder, key, "mode, filename, value")
        return None if row is None else BytesDisk(str(folder)).fetch(*row, read=False)
    except OSError:
        return None


def kept_at(folder: Path, key: str) -> float | None:
    """When `key` was put there, in seconds since 1970; None if it is not there."""
    row = _look_up(folder, key, "store_time")
    return None if row is None else float(row[0])


def _look_up(folder: Path, key: str, columns: str) -> tuple[Any, ...] | None:
    """Columns of the index for `key`, read without writing anything.

    An index in WAL mode cannot be opened read-only where its shared-memory file cannot be made; without a pending log
    it may be read as immutable instead.
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
