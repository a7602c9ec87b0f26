"""Identify a checkpoint by its content: a digest of its weight, config and tokenizer files, or its hub commit."""

from __future__ import annotations

import hashlib
import json
import re
import time
from pathlib import Path

from backend.caching.cache import Cache
from backend.errors import CheckpointError
from backend.models.files.locate import ADAPTER_CONFIG, CONFIG, TOKENIZER_FILES, Located, tensors

SETTLED_NS = 2_000_000_000
_CHUNK = 1 << 22
_DIGEST = re.compile("[0-9a-f]{64}")


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
        others = located.present((CONFIG, ADAPTER_CONFIG))
        files = sorted({*located.weights, *others, *located.tokenizing.present(TOKENIZER_FILES)})
        content = [[file.name, digest(file, cache)] for file in files]
    return hashlib.sha256(json.dumps([content, base if located.adapter else None]).encode()).hexdigest()


def weights_digest(located: Located, cache: Cache) -> str:
    """Return 64 hex digits that depend only on the weight files and an adapter's config.

    In the hub's cache the name of a weight file is its digest.
    """
    files = [*located.weights, *located.present((ADAPTER_CONFIG,) if located.adapter else ())]
    blobs = [file.resolve().name if located.commit is not None else "" for file in files]
    known = [blob if _DIGEST.fullmatch(blob) else digest(file, cache) for file, blob in zip(files, blobs, strict=True)]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def digest(file: Path, cache: Cache) -> str:
    """Return the sha256 of a file, remembered by its path, size, mtime_ns and inode.

    A file written within the last two seconds is not remembered, because a file system's clock is too coarse to
    separate a second write from the first.
    """
    key = "digest/" + hashlib.sha256(str(file).encode()).hexdigest()
    stamp = _stamp(file)
    remembered = cache.get_json(key)
    if isinstance(remembered, list) and remembered[:-1] == stamp:
        return str(remembered[-1])
    started = time.time_ns()
    digits = _read(file)
    if _stamp(file) != stamp:
        raise CheckpointError(f"{file} is being written; wait until the save is done, then try again.")
    if started - stamp[1] > SETTLED_NS:
        cache.put_json(key, [*stamp, digits])
    return digits


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
    return [stat.st_size, stat.st_mtime_ns, stat.st_ino]
