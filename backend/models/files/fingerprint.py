"""A checkpoint as content: the digest of its weight, config and tokenizer files, or its hub commit. No torch."""

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
    """64 hex digits that change whenever the checkpoint's content does, wherever it lies.

    Covers the weights, config and tokenizer files (for the hub the commit and folder), and for an adapter `base`, the
    fingerprint of what it is applied to. Raises CheckpointError when a file is truncated or being written.
    """
    tensors(located)  # a truncated file is found by its header, before it is read through
    if located.commit is not None:
        snapshot = next(parent for parent in located.folder.parents if parent.name == "snapshots")
        content: list[object] = ["hub", located.folder.relative_to(snapshot).as_posix()]
    else:
        others = located.present((CONFIG, ADAPTER_CONFIG, *TOKENIZER_FILES))
        files = sorted({*located.weights, *others})
        content = [[file.name, digest(file, cache)] for file in files]
    return hashlib.sha256(json.dumps([content, base if located.adapter else None]).encode()).hexdigest()


def weights_digest(located: Located, cache: Cache) -> str:
    """The same 64 hex digits for checkpoints whose weight files (and adapter config) are equal, whatever lies beside.

    In the hub's cache a weight file is named by its digest already.
    """
    files = [*located.weights, *located.present((ADAPTER_CONFIG,) if located.adapter else ())]
    blobs = [file.resolve().name if located.commit is not None else "" for file in files]
    known = [blob if _DIGEST.fullmatch(blob) else digest(file, cache) for file, blob in zip(files, blobs, strict=True)]
    return hashlib.sha256(json.dumps(known).encode()).hexdigest()


def digest(file: Path, cache: Cache) -> str:
    """sha256 of a file, remembered by its path, size, mtime_ns and inode.

    A file touched within the last two seconds is not remembered: the clock of a file system is too coarse to tell a
    second write from the first.
    """
    key = "digest/" + hashlib.sha256(str(file).encode()).hexdigest()
    stamp = _stamp(file)
    remembered = cache.get_json(key)
    if isinstance(remembered, list) and remembered[:-1] == stamp:
        return str(remembered[-1])
    read = time.time_ns()
    found = _read(file)
    if _stamp(file) != stamp:
        raise CheckpointError(f"{file} is being written; wait until the save is done, then try again.")
    if read - stamp[1] > SETTLED_NS:
        cache.put_json(key, [*stamp, found])
    return found


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
