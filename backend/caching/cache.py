"""The cache of one folder: bytes on disk, decoded results in memory, one flight per key across threads and servers."""

from __future__ import annotations

import errno
import hashlib
import json
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import diskcache
from filelock import FileLock, Timeout

from backend.caching.disk import code_of, evict, glance, is_damage, kept_at, open_index, seal, unseal
from backend.caching.progress import Progress
from backend.caching.serialize import ForeignEntry

T = TypeVar("T")

DEFAULT_LIMIT = 4 * 2**30
RECENT_BYTES = 64 * 2**20
UNKEPT_BYTES = 512 * 2**20
FACT_BYTES = 16 * 2**20
PATIENCE = 0.5
"""Seconds between two progress reports of whoever waits for another's computation."""

REOPEN_AFTER = 30.0
"""Seconds before a folder that could not be opened is tried again."""

_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ_ONLY = {errno.EROFS, errno.EACCES, errno.EPERM}


class Memory:
    """Results by key, least recently used first out, bounded by bytes. The newest always stays, however large."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Any | None:
        """The result, now the most recently used, or None."""
        with self._lock:
            if key not in self._held:
                return None
            self._held.move_to_end(key)
            return self._held[key][0]

    def put(self, key: str, value: Any, size: int) -> None:
        """Hold a result of `size` bytes."""
        with self._lock:
            self._held.pop(key, None)
            self._held[key] = (value, size)
            while len(self._held) > 1 and sum(size for _, size in self._held.values()) > self._limit:
                self._held.popitem(last=False)

    def drop(self, key: str) -> None:
        """Forget a result."""
        with self._lock:
            self._held.pop(key, None)


class Flight:
    """One computation under way in this process: who waits for it sees how far it is."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.holders = 0
        self.owner: int | None = None
        self.fraction = 0.0
        self.sentence = "Waiting: the same is being computed already."

    def reporting(self, progress: Progress) -> Progress:
        """`progress`, shown to those who wait as well."""

        def report(fraction: float | int, sentence: str) -> None:
            self.fraction, self.sentence = float(fraction), sentence
            progress(fraction, sentence)

        return report


class Cache:
    """Results and small facts by text key, in `folder` and in memory.

    Two servers may share a folder. `limit_bytes` bounds what lies on disk (default 4 GiB): the least recently read
    entries go first. Nothing here raises when the folder is read-only, full, damaged or cannot be made: `note` says so
    in one sentence, and results live in memory only (at most 512 MiB). What such a folder already holds is still read.
    A damaged index is set aside as `cache.db.damaged` and a fresh one begun; a damaged entry is dropped.
    """

    def __init__(self, folder: Path, limit_bytes: int | None = None) -> None:
        self.folder = folder.expanduser().absolute()
        self.limit_bytes = DEFAULT_LIMIT if limit_bytes is None else limit_bytes
        self._recent, self._unkept, self._facts = Memory(RECENT_BYTES), Memory(UNKEPT_BYTES), Memory(FACT_BYTES)
        self._flights: dict[str, Flight] = {}
        self._guard = threading.RLock()
        self._trouble: str | None = None
        self._incident: str | None = None
        self._store: diskcache.Cache | None = None
        self._opened = 0.0
        self._open()

    @property
    def note(self) -> str | None:
        """One sentence if results are not being kept, or if a damaged index was set aside; else None."""
        return self._trouble or self._incident

    def get(self, key: str) -> bytes | None:
        """The bytes kept under `key`; None if there are none or if they are damaged."""
        try:
            found = self._attempt(lambda store: (cast("bytes | None", store.get(key)),), None)
            sealed = glance(self.folder, key) if found is None else found[0]
            return None if sealed is None else unseal(sealed)
        except ForeignEntry:
            self.drop(key)
            return None

    def put(self, key: str, value: bytes) -> bool:
        """Keep `value` under `key`; False, and a `note`, if the folder does not take it."""
        sealed = seal(value)
        if len(sealed) > self.limit_bytes:
            self._trouble = (
                f"A result of {len(sealed):,} bytes does not fit into the cache of {self.limit_bytes:,} bytes and is "
                "not kept; raise LAYERSHIFT_CACHE_BYTES."
            )
            return False
        if self._store is None and time.monotonic() > self._opened + REOPEN_AFTER:
            self._open()

        def write(store: diskcache.Cache) -> bool:
            store.set(key, sealed)
            evict(store, self.limit_bytes)
            self._trouble = None
            return True

        return self._attempt(write, False)

    def kept_at(self, key: str) -> float | None:
        """When `key` was put on disk, in seconds since 1970; None if it is not there."""
        return kept_at(self.folder, key)

    def drop(self, key: str) -> None:
        """Forget `key`, in memory and on disk."""
        self._recent.drop(key)
        self._unkept.drop(key)
        self._facts.drop(key)
        self._attempt(lambda store: store.delete(key), False)

    def recall(self, key: str) -> Any | None:
        """The decoded result held in memory under `key`, or None."""
        recent = self._recent.get(key)
        return self._unkept.get(key) if recent is None else recent

    def remember(self, key: str, result: Any, size: int, kept: bool) -> None:
        """Hold a decoded result of `size` bytes in memory: up to 64 MiB of those kept on disk, 512 MiB of others."""
        (self._recent if kept else self._unkept).put(key, result, size)

    def get_json(self, key: str) -> Any | None:
        """A small fact (a fingerprint, a throughput), or None."""
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
        """Keep a small fact: anything that JSON holds, except None."""
        data = json.dumps(value).encode()
        self._facts.put(key, data, len(data))
        self.put(key, data)

    @contextmanager
    def lock(self, key: str, waiting: Progress | None = None) -> Iterator[Flight]:
        """Hold `key` alone, across threads and across servers on this folder.

        While another holds it, `waiting` is told the fraction and sentence of that computation every half second, and
        what it raises (Cancelled) ends the wait. The lock is the operating system's, released when its process dies.
        Where the folder cannot be written it holds within this process only.
        """
        with self._guard:
            flight = self._flights.setdefault(key, Flight())
            if flight.owner == threading.get_ident():
                raise RuntimeError(f"The computation of {key} asks for its own result.")
            flight.holders += 1
        try:
            while not flight.lock.acquire(timeout=PATIENCE):
                if waiting is not None:
                    waiting(flight.fraction, flight.sentence)
            flight.owner = threading.get_ident()
            try:
                with self._lock_file(key, flight, waiting):
                    yield flight
            finally:
                flight.owner = None
                flight.lock.release()
        finally:
            with self._guard:
                flight.holders -= 1
                if not flight.holders:
                    del self._flights[key]

    @contextmanager
    def _lock_file(self, key: str, flight: Flight, waiting: Progress | None) -> Iterator[None]:
        """The part of `lock` that other processes see."""
        path = self.folder / "locks" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.lock"
        lock = FileLock(str(path), thread_local=False, fallback_to_soft=False)
        while self._store is not None and not lock.is_locked:
            try:
                lock.acquire(timeout=PATIENCE)
            except Timeout:
                if waiting is not None:
                    waiting(0.0, "Waiting: another server on this cache folder is computing the same.")
            except OSError:
                break
        try:
            yield
        finally:
            if lock.is_locked:
                with suppress(OSError):  # safe: filelock starts over when the file that it locked has no name any more
                    path.unlink()
                lock.release()

    def _open(self, deep: bool = False) -> None:
        """(Re)open the index; what is wrong becomes the note."""
        self._opened = time.monotonic()
        try:
            self._store, aside = open_index(self.folder, deep)
            self._trouble = None
        except (OSError, sqlite3.Error, Timeout, diskcache.Timeout) as error:
            self._store, aside = None, False
            self._complain(error)
        if aside:
            self._incident = (
                f"The index of the cache {self.folder} was damaged; it was set aside as cache.db.damaged, "
                "and results are computed afresh."
            )

    def _attempt(self, action: Callable[[diskcache.Cache], T], otherwise: T) -> T:
        """`action` on the store; a damaged index is mended once, any other trouble becomes the note."""
        for _ in range(2):
            store = self._store
            if store is None:
                return otherwise
            try:
                return action(store)
            except (OSError, sqlite3.Error, diskcache.Timeout) as error:
                store.close()  # this thread's connection may be left inside a transaction
                if not is_damage(error):
                    self._complain(error)
                    return otherwise
            with self._guard:
                if self._store is store:
                    self._open(deep=True)
        return otherwise

    def _complain(self, error: BaseException) -> None:
        """Turn an error of the folder into the note."""
        code, number = code_of(error), getattr(error, "errno", None)
        if code in _BUSY and self._store is not None:
            return  # another server is writing; this once nothing is kept
        if number in _FULL or code == sqlite3.SQLITE_FULL:
            state, cure = "is full", "free some space"
        elif number in _READ_ONLY or code == sqlite3.SQLITE_READONLY:
            state, cure = "is read-only", "make it writable"
        else:
            cause = error.__context__ if isinstance(error, diskcache.Timeout) else error
            state, cure = f"cannot be used ({cause})", "mend it"
        self._trouble = (
            f"The cache folder {self.folder} {state}: everything works, but new results are not kept; "
            f"{cure}, or name another folder in LAYERSHIFT_CACHE."
        )
