"""Bounds of the work that people can ask for: the queue, the jobs that a session starts, and the time of a job."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass

from backend.errors import BusyError

WINDOW_SECONDS = 60.0
_MOST_SESSIONS = 10_000


@dataclass(frozen=True)
class Limits:
    """`queue` jobs may wait or run at once, a session may start `rate` jobs a minute, a job may work `seconds`.

    A job that does not listen to Cancel is given up `patience` seconds later.
    """

    queue: int = 500
    rate: int = 300
    seconds: float | int = 86_400
    patience: float = 30.0


class Gate:
    """Counts the jobs of each browser session. Not thread-safe: the caller holds a lock."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._starts: dict[str, deque[float]] = {}

    def enter(self, session: str | None, queued: int) -> None:
        """Count a new job. Raises BusyError if the queue is full, or the session started too many jobs."""
        if queued >= self._limits.queue:
            raise BusyError(
                f"The server has {queued:,} unfinished jobs, the most that it takes; try again when some have ended, "
                f"or raise LAYERSHIFT_QUEUE."
            )
        if session is None:
            return
        now = time.monotonic()
        starts = self._starts.setdefault(session, deque())
        while starts and starts[0] < now - WINDOW_SECONDS:
            starts.popleft()
        if len(starts) >= self._limits.rate:
            wait = max(1, round(starts[0] + WINDOW_SECONDS - now))
            raise BusyError(
                f"This browser tab started {len(starts):,} jobs within a minute, the most that the server takes; try "
                f"again in {wait} s, or raise LAYERSHIFT_RATE."
            )
        starts.append(now)
        while len(self._starts) > _MOST_SESSIONS:
            del self._starts[next(iter(self._starts))]
