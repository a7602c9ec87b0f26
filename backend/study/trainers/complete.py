"""Decide whether a checkpoint is still being written, from names, sizes and headers of its files. No torch."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path

ADAPTER = "adapter_config.json"
_CONFIGS = ("config.json", ADAPTER)
_INDEX = "*.safetensors.index.json"
_OTHER_WEIGHTS = re.compile(r"\.(bin|pt|pth|ckpt|gguf|h5|msgpack|onnx|npz|distcp|safetensors)")
_POINTER = b"version"  # a Git LFS pointer: whole, and refused when it is opened
_MOST_HEADER_BYTES = 100_000_000


def is_unfinished(folder: Path) -> bool:
    """Return whether weights are missing, cut short, or without their config, as while a trainer saves them.

    Weights of another format, or further inside, count as finished: opening them says why they cannot be used.
    """
    try:
        weights = sorted(folder.glob("*.safetensors"))
        if not weights and not any(folder.glob(_INDEX)):
            return not any(_OTHER_WEIGHTS.fullmatch(file.suffix) for file in folder.rglob("*") if file.is_file())
        configured = any((folder / name).is_file() for name in _CONFIGS)
        return not (configured and all(map(_is_whole, weights)) and _has_all_shards(folder))
    except OSError:  # removed or replaced meanwhile
        return True


def _has_all_shards(folder: Path) -> bool:
    """Return whether every file of an index is there; shards without their index are still being written."""
    indexes = sorted(folder.glob(_INDEX))
    if not indexes:
        return not any("-of-" in file.name for file in folder.glob("*.safetensors"))
    for index in indexes:
        try:
            placed = json.loads(index.read_text(encoding="utf-8-sig"))["weight_map"].values()
        except (ValueError, KeyError, TypeError, AttributeError):
            return False
        if not all((folder / str(name)).is_file() for name in placed):
            return False
    return True


def _is_whole(file: Path) -> bool:
    stat = file.stat()
    return _ends(file, (stat.st_size, stat.st_mtime_ns, stat.st_ino))


@lru_cache(maxsize=4096)  # pages ask at every rerun, and the header of a large model takes a while to parse
def _ends(file: Path, stamp: tuple[int, int, int]) -> bool:
    """Return whether a file has the bytes that its header announces; True for files that are not safetensors."""
    size = stamp[0]
    with file.open("rb") as stream:
        start = stream.read(8)
        length = int.from_bytes(start, "little")
        if size < 8 or start.startswith(_POINTER[: len(start)]) or length > _MOST_HEADER_BYTES:
            return size >= 8
        if 8 + length > size:
            return False
        try:
            header = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
            return size >= 8 + length + max(ends, default=0)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            return True
