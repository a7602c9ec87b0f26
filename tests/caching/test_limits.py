"""Bounds of the work that people can ask for, each with a sentence, and the log line of every job."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from backend.caching import limits
from backend.caching.cache import Cache
from backend.caching.jobs import Jobs
from backend.caching.limits import Gate, Limits
from backend.caching.memoize import memoized
from backend.errors import BusyError, Cancelled
from tests.second_server import Desk

GO = threading.Event()


@dataclass(frozen=True)
class Query:
    number: int
    listens: bool = True


@dataclass(frozen=True, eq=False)
class Result:
    number: int


@memoized()
def recipe(query: Query, lab: Desk) -> Result:
    """Wait for the test."""
    while not GO.wait(0.01):
        if query.listens:
            lab.progress(0.5, "Half.")
    return Result(query.number)


@memoized()
def quick(query: Query, lab: Desk) -> Result:
    """Return at once."""
    return Result(query.number)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    GO.clear()
    yield Desk(Cache(tmp_path))
    GO.set()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def test_a_full_queue_takes_no_more(desk: Desk):
    jobs = Jobs(2, Limits(queue=3))
    first = [jobs.submit(recipe, Query(i), desk, session="a") for i in range(3)]
    with pytest.raises(BusyError, match=r"has 3 unfinished jobs, the most that it takes; .* LAYERSHIFT_QUEUE\."):
        jobs.submit(recipe, Query(3), desk, session="b")
    assert jobs.submit(recipe, Query(2), desk, session="b") is first[2], "a job under way takes no place"
    GO.set()
    assert [job.result(10).number for job in first] == [0, 1, 2]
    assert jobs.submit(recipe, Query(3), desk, session="b").result(10).number == 3


def test_a_session_starts_so_many_jobs_a_minute(monkeypatch: pytest.MonkeyPatch):
    now = [100.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])
    gate = Gate(Limits(rate=2))
    gate.enter("a", 0)
    now[0] = 130.0
    gate.enter("a", 0)
    with pytest.raises(BusyError, match=r"started 2 jobs within a minute, .* try again in 30 s"):
        gate.enter("a", 0)
    gate.enter("b", 0)
    gate.enter(None, 0)
    now[0] = 161.0
    gate.enter("a", 0)


@pytest.mark.parametrize("listens", [True, False])
def test_a_job_that_never_ends_is_stopped_and_its_turn_is_free(desk: Desk, listens: bool):
    jobs = Jobs(1, Limits(seconds=0.2, patience=0.2))
    job = jobs.submit(recipe, Query(1, listens), desk)
    until(lambda: not jobs.active() and job.done)
    with pytest.raises(BusyError, match=r"was stopped after 0 s of work, .* LAYERSHIFT_JOB_SECONDS\."):
        job.result(0)
    assert jobs.submit(quick, Query(2), desk).result(10).number == 2
    GO.set()
    assert recipe(Query(1, listens), desk).number == 1, "the next run is right"


def test_a_job_that_does_not_listen_is_given_up_when_it_is_cancelled(desk: Desk):
    jobs = Jobs(1, Limits(patience=0.1))
    job = jobs.submit(recipe, Query(1, listens=False), desk)
    until(lambda: job.started is not None)
    job.cancel()
    assert not job.done
    until(lambda: not jobs.active() and job.done)
    with pytest.raises(Cancelled):
        job.result(0)
    assert jobs.submit(quick, Query(2), desk).result(10).number == 2


def test_a_clock_that_jumps_ends_no_job(desk: Desk, monkeypatch: pytest.MonkeyPatch):
    jobs = Jobs(1, Limits(seconds=3600))
    job = jobs.submit(recipe, Query(1), desk)
    until(lambda: job.started is not None)
    for jump in (1e9, -1e9):
        monkeypatch.setattr(time, "time", lambda jump=jump: 1.7e9 + jump)
        time.sleep(0.05)
        assert jobs.active() == [job] and 0 <= job.elapsed < 60
        assert jobs.seconds_left([job]) < 3600
    GO.set()
    assert job.result(10).number == 1


def test_every_job_leaves_a_line(desk: Desk, caplog: pytest.LogCaptureFixture):
    caplog.set_level(logging.INFO, "backend")
    jobs = Jobs()
    GO.set()
    for _ in range(2):
        jobs.submit(recipe, Query(1), desk, title="a title\nof two lines").result(10)
    jobs.found(recipe, Query(1))
    lines = [record.getMessage() for record in caplog.records]
    key = recipe.key(Query(1))
    assert [line.rpartition(" ")[2] for line in lines] == ["miss", "hit", "hit"]
    assert all(f"key={key} seconds=0." in line and "\n" not in line for line in lines)
    assert desk.cache.tally.misses == 1
