"""A lock for one thread at a time (a device) that jobs get in the order of their rank, and lend out while parked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from backend.caching import turns
from backend.caching.turns import Ticket

PATIENCE = 0.5
"""Seconds between two calls of `waiting`."""


class Lendable:
    """A re-entrant lock. `holder` is the ticket of the job that has it, None for a thread without a ticket.

    It is lent only while `untouched` says that its holder has left nothing on it, such as hooks on a model.
    """

    def __init__(self, untouched: Callable[[], bool] = lambda: True) -> None:
        self.untouched = untouched
        self.holder: Ticket | None = None
        self._changed = threading.Condition()
        self._thread: int | None = None
        self._waiting: list[Ticket] = []

    @contextmanager
    def held(self, waiting: Callable[[], None]) -> Iterator[None]:
        """Hold the lock inside; `waiting` is called every half second until it is free, and its errors end the wait."""
        if self._thread == threading.get_ident():
            yield
            return
        self.resume(waiting)
        ticket = turns.here()
        if ticket is not None:
            ticket.lent.append(self)
        try:
            yield
        finally:
            if ticket is not None:
                ticket.lent.remove(self)
            self.pause()

    def wanted(self, rank: int) -> bool:
        """Return whether a job more urgent than `rank` waits for the lock."""
        with self._changed:
            waiting = list(self._waiting)
        return any(turns.rank(ticket) < rank for ticket in waiting)

    def pause(self) -> None:
        """Let the lock go, if this thread holds it (a job that was cancelled while it was parked does not)."""
        with self._changed:
            if self._thread == threading.get_ident():
                self._thread = self.holder = None
                self._changed.notify_all()

    def resume(self, waiting: Callable[[], None]) -> None:
        """Take the lock, in the order of rank."""
        ticket = turns.here()
        if self._take(ticket):
            return
        if ticket is not None:
            with self._changed:
                self._waiting.append(ticket)
        try:
            with turns.blocked(lambda: self.holder):
                while not self._take(ticket):
                    with self._changed:
                        freed = self._thread is not None and self._changed.wait(PATIENCE)
                    if not freed:
                        waiting()
        finally:
            if ticket is not None:
                with self._changed:
                    self._waiting.remove(ticket)

    def _take(self, ticket: Ticket | None) -> bool:
        """Take the lock if it is free and no more urgent job waits for it."""
        rank = turns.VIEWED if ticket is None else turns.rank(ticket)
        first = not self.wanted(rank)
        with self._changed:
            if self._thread is not None or not first:
                return False
            self._thread, self.holder = threading.get_ident(), ticket
            return True
