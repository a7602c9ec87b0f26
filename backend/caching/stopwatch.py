"""Measure the time that a computation takes itself, without waiting and without what others measure."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager


class _Here(threading.local):
    """Seconds of this thread that belong to no running measurement."""

    apart = 0.0


_HERE = _Here()


@contextmanager
def apart() -> Iterator[None]:
    """Leave the time inside out of all running measurements of this thread; nested blocks count once."""
    started, before = time.perf_counter(), _HERE.apart
    try:
        yield
    finally:
        _HERE.apart = before + time.perf_counter() - started


class Stopwatch:
    """Counts the seconds since it was made, in the thread that made it, without the blocks that are `apart`."""

    def __init__(self) -> None:
        self._started, self._before = time.perf_counter(), _HERE.apart

    @property
    def seconds(self) -> float:
        """Return the seconds so far."""
        return time.perf_counter() - self._started - (_HERE.apart - self._before)
