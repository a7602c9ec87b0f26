"""When jobs end: their steps, one after the other, on the workers of this machine."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Part:
    """A step of a job. Jobs whose parts have the same key share its result; one part at a time uses the device."""

    key: str
    seconds: float
    on_device: bool = False


def union(parts: Iterable[Part]) -> float:
    """Return the seconds of all parts, shared ones once."""
    return sum({part.key: part.seconds for part in parts}.values(), 0.0)


def rest(parts: Sequence[Part], left: float) -> list[Part]:
    """Return the last parts, `left` seconds of them."""
    kept: list[Part] = []
    for part in reversed(parts):
        seconds = min(part.seconds, left)
        if seconds > 0:
            kept.insert(0, replace(part, seconds=seconds))
        left -= seconds
    if left > 0 and kept:  # slower than expected
        kept[-1] = replace(kept[-1], seconds=kept[-1].seconds + left)
    return kept


def ends(jobs: Sequence[Sequence[Part]], workers: int) -> list[float]:
    """Return the seconds until each job ends, if they start in this order on so many workers."""
    free, device, landed, ended = [0.0] * workers, 0.0, dict[str, float](), list[float]()
    for parts in jobs:
        worker = free.index(min(free))
        now = free[worker]
        for part in parts:
            if part.key in landed:
                now = max(now, landed[part.key])
                continue
            if part.on_device:
                now = device = max(now, device) + part.seconds
            else:
                now += part.seconds
            free[worker] += part.seconds
            landed[part.key] = now
        ended.append(now)
    return ended
