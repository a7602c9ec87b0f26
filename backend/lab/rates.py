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

REFERENCE_SECONDS = 0.022
"""Seconds of `calibration` on the reference machine, two idle cores of a server."""
NEWEST = 0.5
"""Weight of the newest measurement in the remembered ratio."""
NEWEST_OF_ANY, PACE_SECONDS = 0.35, 0.2
"""The same for the ratio of kinds that were not measured yet, and the least seconds that count there."""
_PACE = "rate/of/any"
LONG_SECONDS = 2.0
"""Declared seconds from which a query is long."""
LEAST_SECONDS = 0.02
"""Seconds of every query: its result is written to disk."""


def calibration() -> float:
    """Return the seconds of a fixed piece of statistics on one core: draws, sums and a sort.

    It is longer than a time slice of the processor, so that it takes longer beside other programs.
    """
    draw = np.random.default_rng(0)
    x = draw.normal(size=4096)
    started = time.perf_counter()
    for _ in range(400):
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
            known = sorted(calibration() for _ in range(3))[1] / REFERENCE_SECONDS
            self._cache.put_json("rate/machine", known)
        return known

    def ratio(self, query: Any, declared: float) -> float:
        """Return by how much declared seconds are to be multiplied: measured for this kind of query, or for others."""
        return self._number(_key(query, declared)) or self._number(_PACE) or 1.0

    def learn(self, query: Any, declared: float, seconds: float) -> None:
        """Remember that a query took so many seconds of its own where so many were declared."""
        now = max(seconds, LEAST_SECONDS) / max(declared, LEAST_SECONDS)
        key = _key(query, declared)
        self._mix(key, now, 1.0 if self._number(key) is None else NEWEST)
        if min(seconds, declared) >= PACE_SECONDS:
            self._mix(_PACE, now, NEWEST_OF_ANY)

    def _mix(self, key: str, ratio: float, weight: float) -> None:
        """Store the geometric mean of a new ratio and the remembered one (1 if there is none)."""
        known = self._number(key) or 1.0
        self._cache.put_json(key, math.exp(weight * math.log(ratio) + (1 - weight) * math.log(known)))

    def _number(self, key: str) -> float | None:
        value = self._cache.get_json(key)
        return float(value) if isinstance(value, int | float) and value > 0 else None


def _key(query: Any, declared: float) -> str:
    """Return the key of a kind of query; long ones are apart, because a short one says nothing of their models."""
    kind = type(query)
    name = f"{kind.__module__.removeprefix('backend.')}.{kind.__qualname__}"
    return f"rate/of/{name}{'/long' if declared >= LONG_SECONDS else ''}"
