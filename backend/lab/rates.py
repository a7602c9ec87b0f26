"""How fast this machine is: measured seconds against the seconds that queries declare, remembered in the cache.

Declared seconds (`Cost.fitting`) are those of a reference machine. Until a kind of query was measured here, they are
scaled by a short calibration; from then on by the measured ratio. Model passes have rates of their own (models/local).
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np

from backend.caching.cache import Cache

REFERENCE_SECONDS = 0.055
"""Seconds of `calibration` on the reference machine, two idle cores of a server."""
NEWEST = 0.5
"""Weight of the newest measurement in the remembered ratio."""
LEAST_SECONDS = 0.02
"""Seconds of every query: its result is written to disk."""


def calibration() -> float:
    """Return the seconds of a fixed piece of statistics on one core: draws, sums and a sort."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=4096)
    started = time.perf_counter()
    for _ in range(40):
        np.exp(np.sort(x[draw.integers(0, len(x), len(x))])).cumsum()
    return time.perf_counter() - started


class Rates:
    """Ratios of measured to declared seconds, by kind of query."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def machine(self) -> float:
        """Return how many times longer than the reference machine this one takes, by one calibration."""
        known = self._number("rate/machine")
        if known is None:
            known = min(calibration() for _ in range(3)) / REFERENCE_SECONDS
            self._cache.put_json("rate/machine", known)
        return known

    def ratio(self, query: Any) -> float:
        """Return by how much `declared` seconds of this kind of query are to be multiplied."""
        return self._number(_key(query)) or 1.0

    def learn(self, query: Any, declared: float, seconds: float) -> None:
        """Remember that a query took so many seconds of its own where so many were declared."""
        now = max(seconds, LEAST_SECONDS) / max(declared, LEAST_SECONDS)
        known = self._number(_key(query))
        ratio = now if known is None else math.exp(NEWEST * math.log(now) + (1 - NEWEST) * math.log(known))
        self._cache.put_json(_key(query), ratio)

    def _number(self, key: str) -> float | None:
        value = self._cache.get_json(key)
        return float(value) if isinstance(value, int | float) and value > 0 else None


def _key(query: Any) -> str:
    kind = type(query)
    return f"rate/of/{kind.__module__.removeprefix('backend.')}.{kind.__qualname__}"
