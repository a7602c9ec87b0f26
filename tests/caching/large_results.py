"""Results that the cache keeps in its index and in files, and a process that writes them until it dies."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64

from backend.caching.cache import Cache
from backend.caching.disk import BytesDisk
from backend.caching.memoize import memoized
from tests.second_server import Desk

COUNT = 40


@dataclass(frozen=True)
class Query:
    number: int


@dataclass(frozen=True, eq=False)
class Result:
    multiples: Int64[np.ndarray, " many"]


@memoized(version=1)
def multiples(query: Query, lab: Desk) -> Result:
    """Return multiples of a number: every other result is small enough to be kept in the index itself."""
    return Result(query.number * np.arange(20_000 if query.number % 2 else 20))


def die() -> None:
    """End the process as a power cut does."""
    os.kill(os.getpid(), signal.SIGKILL)


def break_at(how: str) -> None:
    """Have this process die in the middle of its tenth write."""
    write, store, left = Path.write_bytes, BytesDisk.store, [10]

    def half(self: Path, data: bytes) -> int:
        left[0] -= 1
        if not left[0]:
            with self.open("wb") as file:
                file.write(data[: len(data) // 2])
            die()
        return write(self, data)

    def unlisted(self: BytesDisk, *given: Any, **more: Any) -> Any:
        row = store(self, *given, **more)
        left[0] -= 1
        if not left[0]:
            die()
        return row

    if how == "half a file":
        Path.write_bytes = half  # type: ignore[method-assign, assignment]
    if how == "a file that the index lacks":
        BytesDisk.store = unlisted  # type: ignore[method-assign]


def main(folder: str, how: str) -> None:
    """Compute every result with a cache in `folder`, and print its number."""
    break_at(how)
    desk = Desk(Cache(Path(folder)))
    for number in range(COUNT):
        multiples(Query(number), desk)
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
