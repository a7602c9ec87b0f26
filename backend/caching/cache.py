"""The cache of one folder: bytes on disk, decoded results in memory, one computation per key at a time."""

from __future__ import annotations

import errno
import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import diskcache
from filelock import FileLock, Timeout

from backend.caching.disk import (
    Usage,
    code_of,
    evict,
    is_damage,
    kept_at,
    open_index,
    read_only_get,
    seal,
    unseal,
    usage,
)
from backend.caching.flight import Flight, Tally
from backend.caching.memory import Memory
from backend.caching.progress import Progress
from backend.caching.serialize import ForeignEntry
from backend.caching.shipped import Shipped
from backend.caching.turns import blocked, here

T = TypeVar("T")

DEFAULT_LIMIT = 4 * 2**30
RECENT_BYTES = 64 * 2**20
UNKEPT_BYTES = 512 * 2**20
FACT_BYTES = 16 * 2**20
PATIENCE = 0.5
"""Seconds between two progress reports while waiting for another computation."""

REOPEN_AFTER = 30.0
"""Seconds until a folder that could not be opened is tried again."""

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


def _acquired(lock: FileLock, timeout: float) -> bool:
    """Return whether the lock is there after at most `timeout` seconds, or cannot be used in this folder."""
    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        return False
    except OSError:
        pass
    return True


class Cache:
    """Results and small facts by text key, in `folder` and in memory.

    Several servers may share a folder. `limit_bytes` bounds the size on disk (default 4 GiB); the least recently read
    entries are evicted first. A folder that is read-only, full, damaged or missing raises no error: `note` describes
    the problem, results are kept in memory only (at most 512 MiB), and existing entries are still read. A damaged index
    is renamed to `cache.db.damaged` and a new one is created; a damaged entry is removed. Results that are absent are
    looked up in `shipped`.
    """

    def __init__(self, folder: Path, limit_bytes: int | None = None, shipped: Shipped | None = None) -> None:
        self.folder = folder.expanduser().absolute()
        self.limit_bytes = DEFAULT_LIMIT if limit_bytes is None else limit_bytes
        self.shipped = Shipped(()) if shipped is None else shipped
        self._recent, self._unkept, self._facts = Memory(RECENT_BYTES), Memory(UNKEPT_BYTES), Memory(FACT_BYTES)
        self.tally = Tally()
        self._flights: dict[str, Flight] = {}
        self._state_lock = threading.RLock()
        self._problem: str | None = None
        self._damage_note: str | None = None
        self._store: diskcache.Cache | None = None
        self._opened = 0.0
        self._open()

    @property
    def note(self) -> str | None:
        """Return one sentence if results are not kept, or if a damaged index was replaced; else None."""
        return self._problem or self._damage_note

    def get(self, key: str) -> bytes | None:
        """Return the bytes stored under `key`; None if there are none or if they are damaged."""
        try:
            row = self._try(lambda store: (cast("bytes | None", store.get(key)),), None)
            sealed = read_only_get(self.folder, key) if row is None else row[0]
            return self.shipped.get(key) if sealed is None else unseal(sealed)
        except ForeignEntry:
            self.drop(key)
            return None

    def put(self, key: str, value: bytes, study: str | None = None) -> bool:
        """Store `value` under `key`; return False and set `note` if it cannot be written.

        `study` is the name of the study that it was computed for; None: several share it.
        """
        sealed = seal(value)
        if len(sealed) > self.limit_bytes:
            self._problem = (
                f"A result of {len(sealed):,} bytes is larger than the cache of {self.limit_bytes:,} bytes and is not "
                "kept; raise LAYERSHIFT_CACHE_BYTES."
            )
            return False
        if self._store is None and time.monotonic() > self._opened + REOPEN_AFTER:
            self._open()

        def write(store: diskcache.Cache) -> bool:
            store.set(key, sealed, tag=study)
            evict(store, self.limit_bytes)
            self._problem = None
            return True

        return self._try(write, False)

    def kept_at(self, key: str) -> float | None:
        """Return when `key` was written to disk, in seconds since 1970; None if it is absent."""
        return kept_at(self.folder, key)

    def entries(self) -> Iterator[tuple[str, bytes]]:
        """Yield every key on disk with its bytes, except those of damaged entries."""
        keys: list[str] = self._try(lambda store: list(cast("Iterator[str]", store)), [])
        for key in keys:
            value = self.get(key)
            if value is not None:
                yield key, value

    def usage(self) -> list[Usage]:
        """Return entries and bytes on disk by study, the largest first."""
        return usage(self.folder)

    def clear(self, study: str | None = None) -> int:
        """Delete the entries of a study, None: every entry, from memory and disk; return how many were on disk."""
        for memory in (self._recent, self._unkept, self._facts):
            memory.clear()
        return self._try(lambda store: store.clear(retry=True) if study is None else store.evict(study, retry=True), 0)

    def private(self) -> list[tuple[str, Any]]:
        """Return the keys and decoded results that are in memory only, such as those of typed texts."""
        return self._unkept.items()

    def drop(self, key: str) -> None:
        """Remove `key` from memory and disk."""
        self._recent.drop(key)
        self._unkept.drop(key)
        self._facts.drop(key)
        self._try(lambda store: store.delete(key), False)

    def recall(self, key: str) -> Any | None:
        """Return the decoded result of `key` from memory, or None."""
        recent = self._recent.get(key)
        return self._unkept.get(key) if recent is None else recent

    def remember(self, key: str, result: Any, size: int, kept: bool) -> None:
        """Store a decoded result in memory: up to 64 MiB of results on disk, 512 MiB of others."""
        (self._recent if kept else self._unkept).put(key, result, size)

    def get_json(self, key: str) -> Any | None:
        """Return a small fact (a fingerprint, a throughput), or None."""
        data = self._facts.get(key)
        if data is None:
            data = self.get(key)
            if data is None:
                return None
            self._facts.put(key, data, len(data))
        try:
            return json.loads(data)
        except ValueError:
            self.drop(key)
            return None

    def put_json(self, key: str, value: Any) -> None:
        """Store a small fact: any JSON value except None."""
        data = json.dumps(value).encode()
        self._facts.put(key, data, len(data))
        self.put(key, data)

    @contextmanager
    def lock(self, key: str, waiting: Progress | None = None) -> Iterator[Flight]:
        """Lock `key` across threads, and across servers on this folder.

        While another holder computes, `waiting` receives its progress every half second; an exception of `waiting`
        (Cancelled) ends the wait. The operating system releases the lock when the process dies. If the folder is not
        writable, the lock applies to this process only.
        """
        with self._state_lock:
            flight = self._flights.setdefault(key, Flight())
            if flight.owner == threading.get_ident():
                raise RuntimeError(f"The computation of {key} requests its own result; remove the recursion.")
            flight.users += 1
        try:
            if not flight.lock.acquire(blocking=False):
                with blocked(lambda: flight.ticket):
                    while not flight.lock.acquire(timeout=PATIENCE):
                        if waiting is not None:
                            waiting(flight.fraction, flight.sentence)
            flight.owner, flight.ticket = threading.get_ident(), here()
            try:
                with self._lock_file(key, flight, waiting):
                    yield flight
            finally:
                flight.owner = flight.ticket = None
                flight.lock.release()
        finally:
            with self._state_lock:
                flight.users -= 1
                if not flight.users:
                    del self._flights[key]

    @contextmanager
    def _lock_file(self, key: str, flight: Flight, waiting: Progress | None) -> Iterator[None]:
        """Lock `key` for other processes with a lock file."""
        path = self.folder / "locks" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.lock"
        lock = FileLock(str(path), thread_local=False, fallback_to_soft=False)
        if self._store is not None and not _acquired(lock, 0.0):
            with blocked(lambda: None):
                while self._store is not None and not _acquired(lock, PATIENCE):
                    if waiting is not None:
                        waiting(0.0, "Waiting: another server is computing this result.")
        try:
            yield
        finally:
            if lock.is_locked:
                with suppress(OSError):  # safe: filelock retries if the locked file was deleted
                    path.unlink()
                lock.release()

    def _open(self, deep: bool = False) -> None:
        """(Re)open the index; a problem sets the note."""
        self._opened = time.monotonic()
        try:
            self._store, aside = open_index(self.folder, deep)
            self._problem = None
        except (OSError, sqlite3.Error, Timeout, diskcache.Timeout) as error:
            self._store, aside = None, False
            self._set_problem(error)
        if aside:
            self._damage_note = (
                f"The index of the cache {self.folder} was damaged; it was renamed to cache.db.damaged, "
                "and results are computed again."
            )

    def _try(self, action: Callable[[diskcache.Cache], T], default: T) -> T:
        """Run `action` on the store; a damaged index is replaced once, any other problem sets the note."""
        for _ in range(2):
            store = self._store
            if store is None:
                return default
            try:
                return action(store)
            except (OSError, sqlite3.Error, diskcache.Timeout) as error:
                store.close()  # this thread's connection may still be in a transaction
                if not is_damage(error):
                    self._set_problem(error)
                    return default
            with self._state_lock:
                if self._store is store:
                    self._open(deep=True)
        return default

    def _set_problem(self, error: BaseException) -> None:
        """Set the note from an error of the folder."""
        code, number = code_of(error), getattr(error, "errno", None)
        if code in _BUSY and self._store is not None:
            return  # another server is writing; only this result is not kept
        if number in _FULL or code == sqlite3.SQLITE_FULL:
            state, remedy = "is full", "free some space"
        elif number in _READ_ONLY or code == sqlite3.SQLITE_READONLY:
            state, remedy = "is read-only", "make it writable"
        else:
            cause = error.__context__ if isinstance(error, diskcache.Timeout) else error
            state, remedy = f"cannot be used ({cause})", "repair it"
        self._problem = (
            f"The cache folder {self.folder} {state}, so new results are not kept; "
            f"{remedy}, or set LAYERSHIFT_CACHE to another folder."
        )
