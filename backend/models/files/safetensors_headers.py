"""Read names, dtypes and shapes from a safetensors header, and check that the file is complete. No torch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

from backend.errors import CheckpointError

MOST_HEADER_BYTES = 100_000_000
_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Entry:
    """One tensor of a file."""

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Number of values."""
        return prod(self.shape)


def read_header(file: Path) -> tuple[Entry, ...]:
    """Return every tensor of the file, reading only its header.

    Raises CheckpointError for another format, or for a file that ends before its last tensor (an interrupted copy or
    save). Format: https://huggingface.co/docs/safetensors/index#format
    """
    try:
        stat = file.stat()
        return _read(file, (stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns))
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read ({error.strerror or error}); check the file.") from None


@lru_cache(maxsize=512)  # pages read the headers of all checkpoints at every rerun
def _read(file: Path, stamp: tuple[int, ...]) -> tuple[Entry, ...]:
    """Read the header of the file with this size, mtime_ns and inode."""
    size = stamp[0]
    try:
        with file.open("rb") as stream:
            start = stream.read(len(_POINTER))
            if start == _POINTER:
                raise CheckpointError(f"{file} is a Git LFS pointer and not the weights; run `git lfs pull` there.")
            length = int.from_bytes(start[:8], "little")
            if size < 8 or 8 + length > size:
                raise _truncated(file, size, 8 + length if length <= MOST_HEADER_BYTES else None)
            stream.seek(8)
            header = json.loads(stream.read(length))
            entries = [_entry(name, entry) for name, entry in header.items() if name != "__metadata__"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise CheckpointError(f"{file} is not a safetensors file; save or copy the checkpoint again.") from None
    expected = 8 + length + max((end for _, end in entries), default=0)
    if size < expected:
        raise _truncated(file, size, expected)
    return tuple(entry for entry, _ in entries)


def _entry(name: str, raw: dict[str, Any]) -> tuple[Entry, int]:
    """Return a tensor and where its bytes end. Raises ValueError, KeyError or TypeError for another content."""
    dtype, shape, (start, end) = raw["dtype"], raw["shape"], raw["data_offsets"]
    sizes = [*shape, start, end]
    if type(dtype) is not str or type(shape) is not list or any(type(one) is not int or one < 0 for one in sizes):
        raise ValueError(name)
    return Entry(name, dtype, tuple(shape)), end


def _truncated(file: Path, size: int, expected: int | None) -> CheckpointError:
    whole = f"{size:,} of {expected:,} bytes are there" if expected else f"it has {size:,} bytes"
    return CheckpointError(f"{file} is truncated or damaged ({whole}); save or copy the checkpoint again.")
