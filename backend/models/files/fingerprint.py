"""Identify a checkpoint by its content: a digest of its weight, config and tokenizer files, or its hub commit."""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from weakref import WeakValueDictionary

from backend.caching.cache import Cache
from backend.errors import CheckpointError
from backend.models.files.locate import ADAPTER_CONFIG, CONFIG, GENERATION_CONFIG, TOKENIZER_FILES, Located, tensors
from backend.models.files.settled import SETTLED_NS

_CHUNK = 1 << 22
_DIGEST = re.compile("[0-9a-f]{64}")
THREADS = 4
"""Files read at once: a core hashes a gigabyte in about a second, and a disk is not faster with more readers."""
_guard = threading.Lock()
_locks: WeakValueDictionary[str, threading.Lock] = WeakValueDictionary()


def fingerprint(located: Located, base: str | None, cache: Cache) -> str:
    """Return 64 hex digits that depend on the checkpoint's content and not on its location.

    They cover the weights, config and tokenizer files (for the hub the commit and folder), and for an adapter `base`,
    the fingerprint of its base. Raises CheckpointError when a file is truncated or being written.
    """
    tensors(located)  # detects a truncated file by its header, before reading all of it
    if located.commit is not None:
        snapshot = next(parent for parent in located.folder.parents if parent.name == "snapshots")
        content: list[object] = ["hub", located.folder.relative_to(snapshot).as_posix()]
    else:
        others = located.present((CONFIG, GENERATION_CONFIG, ADAPTER_CONFIG))
        files = sorted({*located.weights, *others, *located.tokenizing.present(TOKENIZER_FILES)})
        content = [[file.name, digits] for file, digits in zip(files, digests(files, cache), strict=True)]
    return hashlib.sha256(json.dumps([content, base if located.adapter else None]).encode()).hexdigest()


def weights_digest(located: Located, cache: Cache) -> str:
    """Return 64 hex digits that depend only on the weight files and an adapter's config."""
    files = [*located.weights, *located.present((ADAPTER_CONFIG,) if located.adapter else ())]
    return hashlib.sha256(json.dumps(digests(files, cache)).encode()).hexdigest()


def digests(files: Sequence[Path], cache: Cache) -> list[str]:
    """Return the `digest` of each file; those that must be read are read side by side. Raises CheckpointError."""
    known = [_known(file, cache) for file in files]
    unread = [file for file, digits in zip(files, known, strict=True) if digits is None]
    if len(unread) < 2:
        return [digits or digest(file, cache) for file, digits in zip(files, known, strict=True)]
    with ThreadPoolExecutor(min(len(unread), THREADS), "digest") as pool:
        read = dict(zip(unread, pool.map(lambda file: digest(file, cache), unread), strict=True))
    return [digits or read[file] for file, digits in zip(files, known, strict=True)]


def digest(file: Path, cache: Cache) -> str:
    """Return the sha256 of a file, remembered by path, size, times and inode; threads wait for one reading.

    A copy that keeps size and times (`cp -p`, `rsync -t`) changes the ctime.

    A file written within the last two seconds is not remembered, because a file system's clock is too coarse to
    separate a second write from the first. Raises CheckpointError.
    """
    known = _known(file, cache)
    if known is not None:
        return known
    with _lock_of(file):
        known = _known(file, cache)  # another thread may have read it meanwhile
        if known is not None:
            return known
        stamp, started = _stamp(file), time.time_ns()
        digits = _read(file)
        if _stamp(file) != stamp:
            raise CheckpointError(f"{file} is being written; wait until the save is done, then try again.")
        if started - stamp[1] > SETTLED_NS:
            cache.put_json(_key(file), [*stamp, digits])
        return digits


def _known(file: Path, cache: Cache) -> str | None:
    """Return the digest that the hub's cache names or that is remembered; None if the file must be read."""
    on_hub = _named_by_hub(file)
    if on_hub is not None:
        return on_hub
    remembered = cache.get_json(_key(file))
    return str(remembered[-1]) if isinstance(remembered, list) and remembered[:-1] == _stamp(file) else None


def _named_by_hub(file: Path) -> str | None:
    """Return the sha256 that names a large file in the hub's cache, where snapshots link to it; None elsewhere."""
    if not file.is_symlink():
        return None
    blob = file.resolve()
    is_hub = blob.parent.name == "blobs" and blob.parent.parent / "snapshots" in file.parents
    return blob.name if is_hub and blob.is_file() and _DIGEST.fullmatch(blob.name) else None


def _key(file: Path) -> str:
    return "digest/" + hashlib.sha256(str(file).encode()).hexdigest()


def _lock_of(file: Path) -> threading.Lock:
    with _guard:
        return _locks.setdefault(str(file), threading.Lock())


def _read(file: Path) -> str:
    total = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                total.update(chunk)
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read ({error.strerror or error}); check the file.") from None
    return total.hexdigest()


def _stamp(file: Path) -> list[int]:
    try:
        stat = file.stat()
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read ({error.strerror or error}); check the file.") from None
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns]
