"""Background work: one job per key, progress, cancellation, estimates, and errors for all waiting callers."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from backend.caching.cache import Cache
from backend.caching.forecast import Part
from backend.caching.job import QUEUED, Job
from backend.caching.jobs import Jobs
from backend.caching.memoize import memoized
from backend.caching.serialize import NOT_IN_KEY
from backend.errors import Cancelled, CheckpointError
from tests.second_server import Desk

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Labelled:
    label: str


@dataclass(frozen=True)
class Query:
    number: int
    act: str = field(default="", metadata=NOT_IN_KEY)
    checkpoint: Labelled = field(default=Labelled("epoch 1"), metadata=NOT_IN_KEY)


@dataclass(frozen=True, eq=False)
class Result:
    number: int


class Stage:
    """What the recipe waits for, and what it did."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.deaf = threading.Event()
        self.runs: list[int] = []


STAGE = Stage()


@memoized()
def recipe(query: Query, lab: Desk) -> Result:
    """Run the actions in the query."""
    STAGE.runs.append(query.number)
    lab.progress(0.25, "A quarter.")
    if query.act == "fail":
        raise CheckpointError("The weights are gone.")
    if query.act == "bug":
        raise ZeroDivisionError("a bug")
    if query.act == "exit":
        raise SystemExit(3)
    while query.act == "wait" and not STAGE.go.wait(0.01):
        lab.progress(0.5, "Half.")
    if query.act == "deaf":
        STAGE.deaf.set()
        STAGE.go.wait(10)
    return Result(query.number)


STARTED: list[Jobs] = []


def start(workers: int = 2) -> Jobs:
    """Yield workers whose jobs end before the next test."""
    STARTED.append(Jobs(workers))
    return STARTED[-1]


@pytest.fixture(autouse=True)
def stage() -> Iterator[Stage]:
    STAGE.__init__()
    yield STAGE
    STAGE.go.set()
    until(lambda: not any(jobs.active() for jobs in STARTED))
    STARTED.clear()


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(Cache(tmp_path))


@dataclass(frozen=True, eq=False)
class Timed(Desk):
    """A lab that estimates costs."""

    cost: Callable[[object], float] = lambda query: 12.5

    def parts(self, query: object) -> list[Part]:
        return [Part("all", self.cost(query))]


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.002)


def test_a_job_from_end_to_end(desk: Desk):
    jobs = start()
    job = jobs.submit(recipe, Query(1), desk)
    assert job.result(10).number == 1
    assert job.done
    assert (job.failed, job.fraction, job.sentence) == (None, 1.0, "Done.")
    assert job.key == recipe.key(Query(1))
    assert job.title == "test jobs of epoch 1"
    assert jobs.active() == []
    assert recipe.peek(Query(1), desk) is not None


def test_progress_is_seen_while_it_runs(desk: Desk, stage: Stage):
    jobs = start()
    job = jobs.submit(recipe, Query(1, "wait"), desk)
    until(lambda: job.fraction == 0.5)
    assert (job.sentence, job.done, jobs.active()) == ("Half.", False, [job])
    assert job.started is not None
    assert 0 <= job.elapsed < 10
    with pytest.raises(TimeoutError, match="not finished"):
        job.result(0.01)
    stage.go.set()
    job.result(10)
    elapsed = job.elapsed
    time.sleep(0.02)
    assert job.elapsed == elapsed


def test_the_same_query_is_one_job_and_one_run(desk: Desk, stage: Stage):
    jobs = start()
    submitted: list[Job[Result]] = []
    sessions = [
        threading.Thread(target=lambda: submitted.append(jobs.submit(recipe, Query(1, "wait"), desk)))
        for _ in range(10)
    ]
    for thread in sessions:
        thread.start()
    for thread in sessions:
        thread.join()
    assert len({id(job) for job in submitted}) == 1
    stage.go.set()
    assert {job.result(10).number for job in submitted} == {1}
    assert stage.runs == [1]


def test_a_job_goes_on_when_everybody_left(desk: Desk, stage: Stage):
    start().submit(recipe, Query(1, "wait"), desk)
    stage.go.set()
    until(lambda: recipe.peek(Query(1), desk) is not None)


def test_what_is_in_the_cache_is_done_at_once(desk: Desk, stage: Stage):
    recipe(Query(1), desk)
    jobs = start(1)
    jobs.submit(recipe, Query(2, "wait"), desk)
    job = jobs.submit(recipe, Query(1), desk)
    assert job.done
    assert job.result(0).number == 1
    assert job.elapsed == 0.0


def test_jobs_queue_in_order(desk: Desk, stage: Stage):
    jobs = start(1)
    queued = [jobs.submit(recipe, Query(i, "wait" if i == 0 else ""), desk) for i in range(4)]
    until(lambda: queued[0].fraction == 0.5)
    assert jobs.active() == queued
    assert (queued[1].sentence, queued[1].started, queued[1].elapsed) == (QUEUED, None, 0.0)
    stage.go.set()
    assert [job.result(10).number for job in queued] == stage.runs == [0, 1, 2, 3]


def test_two_workers_run_side_by_side(desk: Desk, stage: Stage):
    jobs = start(2)
    both = [jobs.submit(recipe, Query(i, "wait"), desk) for i in range(2)]
    until(lambda: all(job.fraction == 0.5 for job in both))


def test_an_error_reaches_every_waiter_and_a_resubmit_retries(desk: Desk, stage: Stage):
    jobs = start(1)
    first = jobs.submit(recipe, Query(0, "wait"), desk)
    job = jobs.submit(recipe, Query(1, "fail"), desk)
    caught: list[BaseException] = []

    def wait() -> None:
        with pytest.raises(CheckpointError, match="weights are gone") as error:
            job.result(10)
        caught.append(error.value)

    waiters = [threading.Thread(target=wait) for _ in range(5)]
    for waiter in waiters:
        waiter.start()
    stage.go.set()
    for waiter in waiters:
        waiter.join()
    assert len(caught) == 5
    assert first.result(10).number == 0
    assert job.done
    assert job.sentence == str(job.failed) == "The weights are gone."
    again = jobs.submit(recipe, Query(1), desk)
    assert again is not job
    assert again.result(10).number == 1


@pytest.mark.parametrize(("act", "kind"), [("bug", ZeroDivisionError), ("exit", SystemExit)])
def test_a_bug_is_logged_and_delivered_and_the_worker_lives(
    desk: Desk, caplog: pytest.LogCaptureFixture, act: str, kind: type[BaseException]
):
    jobs = start(1)
    job = jobs.submit(recipe, Query(1, act), desk)
    with caplog.at_level(logging.ERROR), pytest.raises(kind):
        job.result(10)
    assert caplog.records[0].exc_info
    assert jobs.submit(recipe, Query(2), desk).result(10).number == 2


def test_asking_again_and_again_does_not_lengthen_the_traceback(desk: Desk):
    job = start().submit(recipe, Query(1, "fail"), desk)
    lengths = set()
    for _ in range(5):
        with pytest.raises(CheckpointError) as error:
            job.result(10)
        lengths.add(len(error.traceback))
    assert len(lengths) == 1


def test_cancel_stops_a_running_job_for_everybody(desk: Desk, stage: Stage):
    jobs = start()
    job = jobs.submit(recipe, Query(1, "wait"), desk)
    same = jobs.submit(recipe, Query(1, "wait"), desk)
    until(lambda: job.fraction == 0.5)
    job.cancel()
    job.cancel()
    assert jobs.active() == []
    for holder in (job, same):
        with pytest.raises(Cancelled, match="was cancelled"):
            holder.result(10)
    assert recipe.peek(Query(1), desk) is None
    stage.go.set()
    assert jobs.submit(recipe, Query(1, "wait"), desk).result(10).number == 1


def test_cancel_ends_a_queued_job_at_once(desk: Desk, stage: Stage):
    jobs = start(1)
    first = jobs.submit(recipe, Query(0, "wait"), desk)
    job = jobs.submit(recipe, Query(1), desk)
    job.cancel()
    assert job.done
    with pytest.raises(Cancelled):
        job.result(0)
    stage.go.set()
    assert first.result(10).number == 0
    assert jobs.submit(recipe, Query(2), desk).result(10).number == 2
    assert stage.runs == [0, 2]


def test_a_resubmit_waits_for_a_cancelled_one_that_does_not_listen(desk: Desk, stage: Stage):
    jobs = start()
    job = jobs.submit(recipe, Query(1, "deaf"), desk)
    assert stage.deaf.wait(10)
    job.cancel()
    again = jobs.submit(recipe, Query(1), desk)
    assert again is not job
    stage.go.set()
    assert again.result(10).number == job.result(10).number == 1
    assert stage.runs == [1]


def test_cancel_after_the_end_changes_nothing(desk: Desk):
    job = start().submit(recipe, Query(1), desk)
    job.result(10)
    job.cancel()
    assert job.result(0).number == 1


def test_the_estimate_is_told_before_it_starts(desk: Desk, tmp_path: Path, stage: Stage):
    jobs = start()
    assert jobs.submit(recipe, Query(1, "wait"), desk).estimate is None
    assert jobs.submit(recipe, Query(2, "wait"), Timed(desk.cache)).estimate == 12.5

    def unusable(query: object) -> float:
        raise CheckpointError("The weights are gone.")

    assert jobs.submit(recipe, Query(3, "wait"), Timed(desk.cache, cost=unusable)).estimate is None


def test_a_title_of_ones_own(desk: Desk):
    assert start().submit(recipe, Query(1), desk, title="Counting").title == "Counting"


def test_fractions_stay_within_the_bar():
    job: Job[Result] = Job("key", "title")
    job.report(1.7, "Too much.")
    assert job.fraction == 1.0
    job.report(-1.0, "Too little.")
    assert job.fraction == 0.0


def test_the_interpreter_leaves_while_a_job_runs(tmp_path: Path):
    code = (
        "import sys; from pathlib import Path\n"
        "from backend.caching.cache import Cache; from backend.caching.jobs import Jobs\n"
        "from tests.second_server import Desk, Query, multiples\n"
        "folder = Path(sys.argv[1])\n"
        "job = Jobs().submit(multiples, Query(7, folder / 'ledger', 600.0), Desk(Cache(folder)))\n"
        "while job.fraction < 0.5: pass\n"
    )
    started = time.monotonic()
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=True, timeout=60)
    assert time.monotonic() - started < 60


def test_a_recipe_inside_a_recipe_is_one_flight_too(desk: Desk, stage: Stage):
    @memoized()
    def outer(query: Query, lab: Desk) -> Result:
        return Result(10 * recipe(Query(0, "wait"), lab).number + query.number)

    jobs = start(2)
    both = [jobs.submit(outer, Query(i), desk) for i in (1, 2)]
    until(lambda: any(job.fraction == 0.5 for job in both))
    stage.go.set()
    assert [job.result(10).number for job in both] == [1, 2]
    assert stage.runs == [0]
