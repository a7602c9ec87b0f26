"""Progress and intermediate results of long computations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Progress = Callable[[float, str], None]
"""Called with the fraction done (0..1) and a sentence; raises Cancelled if the user cancelled the work."""


def silent(_fraction: float, _sentence: str) -> None:
    """No-op progress callback."""


def unwatched(_result: object) -> None:
    """No-op callback for intermediate results."""


_SO_FAR: dict[str, list[Any]] = {}
"""Intermediate results of running computations in this process, by the key of the query."""


@contextmanager
def shown(key: str) -> Iterator[Callable[[Any], None]]:
    """Yield a function that publishes intermediate results of `key` for `so_far`, until the context ends."""
    try:
        yield _SO_FAR.setdefault(key, []).append
    finally:
        del _SO_FAR[key]


def so_far(key: str) -> tuple[Any, ...]:
    """Return the intermediate results that a running computation has published, in order."""
    return tuple(_SO_FAR.get(key, ()))
