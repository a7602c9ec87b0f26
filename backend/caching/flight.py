"""A running computation that other threads wait for, and how often none was needed."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from backend.caching.progress import Progress
from backend.caching.turns import Ticket


@dataclass
class Tally:
    """How often a result was found or had to be computed, since the process started."""

    hits: int = 0
    misses: int = 0


class Flight:
    """A running computation in this process; waiting threads see its progress."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.owner: int | None = None
        self.ticket: Ticket | None = None
        self.fraction = 0.0
        self.sentence = "Waiting: another thread is computing this result."

    def reporting(self, progress: Progress) -> Progress:
        """Wrap `progress` so that waiting threads see it too."""

        def report(fraction: float | int, sentence: str) -> None:
            self.fraction, self.sentence = float(fraction), sentence
            progress(fraction, sentence)

        return report
