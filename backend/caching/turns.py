"""Which background job may run now: typed text first, then what a page shows, then what was left behind.

1. Every job has a rank: TYPED, VIEWED (a page renews a lease while it shows the job) or BACKGROUND (no lease).
2. A fixed number of jobs run at once, and one more if it is TYPED. The others wait for a turn, the lowest rank first.
3. A BACKGROUND job gives its turn away at a progress report when a more urgent job has none: its thread sleeps (it is
   parked), another thread runs the urgent job. Parked, it also lends out its device; while it has hooks on a model,
   it is not parked.
4. A job that waits for a lock holds no turn, and the holder of the lock inherits its rank: no deadlock.
5. Threads without a ticket (the command line) never wait for a turn.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Protocol

from backend.caching.stopwatch import apart

TYPED, VIEWED, BACKGROUND = range(3)
POLL_SECONDS = 0.25
"""Leases end without a message, so that waiting threads look again this often."""
MOST_STARTED = 6
"""Jobs of one rank or a more urgent one that have a thread; bounds the threads that are parked or wait for locks."""

State = Enum("State", "QUEUED RUNNING PARKED BLOCKED ENDED")


class Lent(Protocol):
    """A lock that a parked job lets go."""

    @property
    def untouched(self) -> Callable[[], bool]:
        """Return the function that says whether the lock can be let go: nothing of its holder is left on a model."""
        ...

    def wanted(self, rank: int) -> bool:
        """Return whether a job more urgent than `rank` waits for it."""
        ...

    def pause(self) -> None:
        """Let the lock go."""
        ...

    def resume(self, waiting: Callable[[], None]) -> None:
        """Take the lock back; `waiting` is called meanwhile, and its errors end the wait."""
        ...


class Ticket:
    """A job in `Turns`: its rank, its state, and what it waits for."""

    def __init__(self, rank: Callable[[], int] = lambda: VIEWED) -> None:
        self.own_rank = rank
        self.state = State.QUEUED
        self.number = 0
        self.cancelled = False
        self.lent: list[Lent] = []
        self.steady = 0
        self.shared = 0
        self.idle = 0.0
        self.idle_since: float | None = None
        self.holder: Callable[[], Ticket | None] = lambda: None

    @property
    def waited(self) -> float:
        """Return the seconds since its start in which it was parked or waited for a lock."""
        since = self.idle_since
        return self.idle + (0.0 if since is None else time.monotonic() - since)


class _Here(threading.local):
    """The turns and the ticket of the job that runs in this thread."""

    turns: Turns | None = None
    ticket: Ticket | None = None


_HERE = _Here()


def here() -> Ticket | None:
    """Return the ticket of the job that runs in this thread."""
    return _HERE.ticket


def rank(ticket: Ticket) -> int:
    """Return the rank of a ticket in the turns of this thread; its own rank elsewhere."""
    return ticket.own_rank() if _HERE.turns is None else _HERE.turns.rank(ticket)


@contextmanager
def steady() -> Iterator[None]:
    """Keep this thread's job from being parked, e.g. while it holds a lock of a library that other jobs need."""
    ticket = here()
    if ticket is None:
        yield
        return
    ticket.steady += 1
    try:
        yield
    finally:
        ticket.steady -= 1


@contextmanager
def shared() -> Iterator[None]:
    """Compute a result inside that other jobs need too, so this job ends it though no page shows it."""
    ticket = here()
    if ticket is None:
        yield
        return
    ticket.shared += 1
    try:
        yield
    finally:
        ticket.shared -= 1


@contextmanager
def blocked(holder: Callable[[], Ticket | None]) -> Iterator[None]:
    """Wait for a lock inside, without a turn; `holder` names the job that has the lock. Ends with a turn again."""
    turns, ticket = _HERE.turns, _HERE.ticket
    with apart():
        if turns is None or ticket is None or ticket.state is not State.RUNNING:
            yield
            return
        turns.leave(ticket, State.BLOCKED, holder)
        yield
        turns.await_turn(ticket)


class Turns:
    """The turns of the jobs of one process; see the module."""

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self.changed = threading.Condition()
        self._tickets: list[Ticket] = []
        self._numbers = itertools.count()

    def add(self, ticket: Ticket) -> None:
        """Queue a ticket."""
        with self.changed:
            ticket.number = next(self._numbers)
            self._tickets.append(ticket)
            self.changed.notify_all()

    def look(self) -> None:
        """Have waiting threads look at the ranks again."""
        with self.changed:
            self.changed.notify_all()

    def end(self, ticket: Ticket) -> None:
        """Remove a ticket."""
        with self.changed:
            ticket.state = State.ENDED
            if ticket in self._tickets:
                self._tickets.remove(ticket)
            self.changed.notify_all()

    def cancel(self, ticket: Ticket) -> None:
        """Wake the thread of a cancelled ticket if it is parked."""
        with self.changed:
            ticket.cancelled = True
            self.changed.notify_all()

    def rank(self, ticket: Ticket) -> int:
        """Return the ticket's rank, or that of a more urgent job which waits for a lock that it holds."""
        return self._ranks().get(ticket, BACKGROUND)

    def order(self) -> list[Ticket]:
        """Return the tickets in the order in which they get turns, with the running ones first."""
        with self.changed:
            ranks = self._ranks()
            return sorted(self._tickets, key=lambda one: (one.state is not State.RUNNING, *self._place(one, ranks)))

    def next(self) -> Ticket | None:
        """Return the queued ticket that may start now, with its turn; None if none may. Call it under `changed`."""
        ranks = self._ranks()
        queued = [one for one in self._tickets if one.state is State.QUEUED]
        for ticket in sorted(queued, key=lambda one: self._place(one, ranks)):
            if self._may_run(ticket, ranks):
                ticket.state = State.RUNNING
                return ticket
        return None

    @contextmanager
    def running(self, ticket: Ticket) -> Iterator[None]:
        """Run the ticket's job in this thread."""
        _HERE.turns, _HERE.ticket = self, ticket
        try:
            yield
        finally:
            _HERE.turns = _HERE.ticket = None
            self.end(ticket)

    def leave(self, ticket: Ticket, state: State, holder: Callable[[], Ticket | None] = lambda: None) -> None:
        """Give the turn away."""
        with self.changed:
            ticket.state, ticket.holder, ticket.idle_since = state, holder, time.monotonic()
            self.changed.notify_all()

    def await_turn(self, ticket: Ticket) -> None:
        """Wait until the ticket has a turn again, or is cancelled."""
        with self.changed:
            ticket.state, ticket.holder = State.PARKED, lambda: None
            while not ticket.cancelled and not self._may_run(ticket, self._ranks()):
                self.changed.wait(POLL_SECONDS)
            ticket.idle, ticket.idle_since, ticket.state = ticket.waited, None, State.RUNNING
            self.changed.notify_all()

    def step_aside(self, ticket: Ticket, waiting: Callable[[], None]) -> None:
        """Park the job of this thread while more urgent jobs need its turn or its device; for progress reports."""
        if ticket.state is not State.RUNNING or ticket.steady or not self._should_park(ticket):
            return
        lent = list(ticket.lent)
        if not all(lock.untouched() for lock in lent):
            return
        with apart():
            for lock in reversed(lent):
                lock.pause()
            self.leave(ticket, State.PARKED)
            self.await_turn(ticket)
            for lock in lent:
                if not ticket.cancelled:
                    lock.resume(waiting)

    def _should_park(self, ticket: Ticket) -> bool:
        with self.changed:
            ranks = self._ranks()
            urgent = [one for one in self._waiting() if ranks[one] < ranks[ticket]]
            if ranks[ticket] == BACKGROUND and any(not self._has_turn(one, ranks) for one in urgent):
                return True
        return any(lock.wanted(ticket.own_rank()) for lock in ticket.lent)  # who waits for it lends its rank

    def _may_run(self, ticket: Ticket, ranks: dict[Ticket, int]) -> bool:
        """Return whether there is a turn for the ticket, and no other waiting ticket should have it."""
        mine = self._place(ticket, ranks)
        return self._could_run(ticket, ranks) and not any(
            self._place(one, ranks) < mine and self._could_run(one, ranks) for one in self._waiting()
        )

    def _could_run(self, ticket: Ticket, ranks: dict[Ticket, int]) -> bool:
        """Return whether there is a turn for the ticket, and a thread if it is queued."""
        if ticket.state is State.QUEUED:
            started = [one for one in self._tickets if one.state is not State.QUEUED and ranks[one] <= ranks[ticket]]
            if len(started) >= max(MOST_STARTED, self.workers + 1):
                return False
        return self._has_turn(ticket, ranks)

    def _has_turn(self, ticket: Ticket, ranks: dict[Ticket, int]) -> bool:
        """Return whether another job of this rank may run: the turn beyond `workers` is for typed text."""
        running = [one for one in self._tickets if one.state is State.RUNNING]
        if len(running) > self.workers:
            return False
        return ranks[ticket] == TYPED or sum(ranks[one] != TYPED for one in running) < self.workers

    def _waiting(self) -> list[Ticket]:
        return [one for one in self._tickets if one.state in (State.QUEUED, State.PARKED)]

    def _place(self, ticket: Ticket, ranks: dict[Ticket, int]) -> tuple[int, bool, int]:
        """Return the place in the queue: by rank, then those that have started, then by age."""
        return ranks[ticket], ticket.state is State.QUEUED, ticket.number

    def _ranks(self) -> dict[Ticket, int]:
        """Return the rank of every ticket; holders of locks inherit that of the jobs that wait for them."""
        with self.changed:
            ranks = {one: one.own_rank() for one in self._tickets}
            for ticket in sorted(ranks, key=ranks.__getitem__):
                rank, holder = ranks[ticket], ticket.holder()
                while holder in ranks and ranks[holder] > rank:
                    ranks[holder] = rank
                    holder = holder.holder()
            return ranks
