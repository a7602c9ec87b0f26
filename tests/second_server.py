"""A server process of its own for the tests of the cache: `python -m tests.second_server FOLDER LEDGER SECONDS`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from backend.caching.cache import Cache
from backend.caching.memoize import memoized
from backend.caching.serialize import NOT_IN_KEY


@dataclass(frozen=True, eq=False)
class Desk:
    """The least that a recipe needs of a lab."""

    cache: Cache
    progress: Callable[[float, str], None] = lambda fraction, sentence: None

    def watched(self, progress: Callable[[float, str], None]) -> Desk:
        return replace(self, progress=progress)


@dataclass(frozen=True)
class Query:
    """`number` is what is asked for; the rest does not count."""

    number: int
    ledger: Path = field(default=Path(), metadata=NOT_IN_KEY)
    seconds: float = field(default=0.0, metadata=NOT_IN_KEY)


@dataclass(frozen=True, eq=False)
class Result:
    multiples: Int64[np.ndarray, " ten"]


@memoized(version=1)
def multiples(query: Query, lab: Desk) -> Result:
    """The first ten multiples of a number; every run leaves a line in the ledger."""
    with query.ledger.open("a") as ledger:
        ledger.write("computed\n")
    lab.progress(0.5, "Half of it.")
    time.sleep(query.seconds)
    return Result(query.number * np.arange(10))


def main(folder: str, ledger: str, seconds: str) -> None:
    cache = Cache(Path(folder))

    def progress(fraction: float, sentence: str) -> None:
        if "another server" in sentence:
            Path(f"{ledger}-awaited").touch()

    result = multiples(Query(7, Path(ledger), float(seconds)), Desk(cache, progress))
    sys.stdout.write(f"{result.multiples[3]} {cache.note}")


if __name__ == "__main__":
    main(*sys.argv[1:])
