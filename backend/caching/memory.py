"""Decoded results in memory, the least recently used forgotten first."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any


class Memory:
    """LRU cache of results by key, bounded by bytes. The newest result is always kept, whatever its size."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._entries: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: str) -> Any | None:
        """Return the result and mark it as recently used, or return None."""
        with self._lock:
            if key not in self._entries:
                return None
            self._entries.move_to_end(key)
            return self._entries[key][0]

    def put(self, key: str, value: Any, size: int) -> None:
        """Store a result of `size` bytes."""
        with self._lock:
            self._entries.pop(key, None)
            self._entries[key] = (value, size)
            while len(self._entries) > 1 and sum(size for _, size in self._entries.values()) > self._limit:
                self._entries.popitem(last=False)

    def drop(self, key: str) -> None:
        """Remove a result."""
        with self._lock:
            self._entries.pop(key, None)

    def clear(self) -> None:
        """Remove everything."""
        with self._lock:
            self._entries.clear()

    @property
    def size(self) -> int:
        """Return the bytes of all results."""
        with self._lock:
            return sum(size for _, size in self._entries.values())

    def items(self) -> list[tuple[str, Any]]:
        """Return all keys with their results."""
        with self._lock:
            return [(key, result) for key, (result, _) in self._entries.items()]
