"""Progress of long work: what is reported, and to whom."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Progress = Callable[[float, str], None]
"""Called with the fraction done (0..1) and a sentence; raises Cancelled when the work is no longer wanted."""


def silent(_fraction: float, _sentence: str) -> None:
    """Progress that nobody watches."""


def unwatched(_found: object) -> None:
    """Work whose results nobody looks at before it is done."""


_SO_FAR: dict[str, list[Any]] = {}
"""What long work that this process does now has brought so far, by the key of its query."""


@contextmanager
def shown(key: str) -> Iterator[Callable[[Any], None]]:
    """While open, what is handed to the function that it gives can be seen by pages that wait: `so_far` of that key."""
    try:
        yield _SO_FAR.setdefault(key, []).append
    finally:
        del _SO_FAR[key]


def so_far(key: str) -> tuple[Any, ...]:
    """What work under way in this process has shown so far, in order; empty if there is none."""
    return tuple(_SO_FAR.get(key, ()))
