"""Work that a test starts and ends: recipes that report until they are let go, and what can be seen of their jobs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from backend.caching.job import Job
from backend.caching.lending import Lendable
from backend.caching.memoize import memoized
from backend.caching.serialize import NOT_IN_KEY
from backend.caching.turns import State, steady
from backend.errors import CheckpointError
from tests.second_server import Desk


@dataclass(frozen=True)
class Query:
    number: int
    act: str = field(default="", metadata=NOT_IN_KEY)


@dataclass(frozen=True, eq=False)
class Result:
    number: int


class Stage:
    """What the recipes did, and what ends them."""

    def __init__(self) -> None:
        self.ended: list[int] = []
        self.go: dict[int, threading.Event] = {}
        self.hooked = False
        self.device = Lendable(lambda: not self.hooked)

    def let(self, number: int) -> None:
        """Let the work of a query end."""
        self.go.setdefault(number, threading.Event()).set()


STAGE = Stage()


def work(query: Query, lab: Desk) -> Result:
    """Report progress until the test ends the work."""
    go = STAGE.go.setdefault(query.number, threading.Event())
    if query.act == "fail":
        go.wait(10)
    while not go.wait(0.002):
        lab.progress(0.5, "Half.")
    lab.progress(0.9, "Nearly.")
    if query.act == "bug":
        raise CheckpointError("The weights are gone.")
    STAGE.ended.append(query.number)
    return Result(query.number)


@memoized()
def plain(query: Query, lab: Desk) -> Result:
    """Work without a device."""
    return work(query, lab)


@memoized()
def outer(query: Query, lab: Desk) -> Result:
    """Work that needs the result of query 1."""
    return Result(query.number + plain(Query(1), lab).number)


@memoized(private=True)
def typed(query: Query, lab: Desk) -> Result:
    """Answer a typed text."""
    return work(query, lab)


@memoized(private=True)
def typed_after(query: Query, lab: Desk) -> Result:
    """Answer a typed text with the result of query 1, which other texts need too."""
    plain(Query(1), lab)
    return work(query, lab)


@memoized()
def on_device(query: Query, lab: Desk) -> Result:
    """Work on the device, as the model store lends it."""
    with STAGE.device.held(lambda: lab.progress(0.0, "Waiting.")), STAGE.device.held(lambda: None):
        STAGE.hooked = query.act == "hooks"
        try:
            return work(query, lab)
        finally:
            STAGE.hooked = False


@memoized()
def in_library(query: Query, lab: Desk) -> Result:
    """Work that reports while it holds the lock of a library."""
    with steady():
        return work(query, lab)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)


def runs(job: Job[Result]) -> bool:
    """Return whether the job has a turn and has reported."""
    return job.ticket.state is State.RUNNING and job.fraction >= 0.5


def parked(job: Job[Result]) -> bool:
    return job.ticket.state is State.PARKED
