"""Read names, dtypes and shapes from a safetensors header, and check that the file is complete. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import prod
from pathlib import Path

from safetensors import SafetensorError, safe_open

from backend.errors import CheckpointError

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

    Raises CheckpointError for another format, or for a file that ends before or after its last tensor (an interrupted
    copy or save).
    """
    try:
        stat = file.stat()
        return _read(file, (stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns))
    except OSError as error:
        raise CheckpointError(f"{file} cannot be read ({error.strerror or error}); check the file.") from None


@lru_cache(maxsize=512)  # pages read the headers of all checkpoints at every rerun
def _read(file: Path, stamp: tuple[int, ...]) -> tuple[Entry, ...]:
    """Read the header of the file with this size, mtime_ns, inode and ctime_ns."""
    with file.open("rb") as stream:
        if stream.read(len(_POINTER)) == _POINTER:
            raise CheckpointError(f"{file} is a Git LFS pointer and not the weights; run `git lfs pull` there.")
    try:
        with safe_open(file, framework="numpy") as tensors:
            slices = {name: tensors.get_slice(name) for name in tensors.keys()}  # noqa: SIM118 - it has no __iter__
            return tuple(Entry(name, one.get_dtype(), tuple(one.get_shape())) for name, one in slices.items())
    except SafetensorError as error:
        detail = str(error).removeprefix("Error while deserializing header: ")
        raise CheckpointError(
            f"{file} is truncated, damaged or no safetensors file ({detail}); save or copy the checkpoint again."
        ) from None
