"""The order of background jobs: what a page shows overtakes what was left behind, which goes on later."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from backend.caching.cache import Cache
from backend.caching.job import Job
from backend.caching.jobs import Jobs
from backend.caching.turns import BACKGROUND, TYPED, VIEWED, State
from backend.errors import Cancelled, CheckpointError
from tests.caching.staged_work import (
    STAGE,
    Query,
    Result,
    Stage,
    in_library,
    on_device,
    outer,
    parked,
    plain,
    runs,
    typed,
    typed_after,
    until,
)
from tests.second_server import Desk

ME, OTHER = "one browser", "another"


@pytest.fixture(autouse=True)
def stage() -> Iterator[Stage]:
    STAGE.__init__()
    yield STAGE
    for number in range(20):
        STAGE.let(number)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(Cache(tmp_path))


def test_the_rank_follows_the_pages_that_show_a_job():
    job: Job[Result] = Job("key", "title")
    typed_job: Job[Result] = Job("key", "title", typed=True)
    assert job.ticket.own_rank() == BACKGROUND
    job.watch(ME)
    job.watch(OTHER)
    typed_job.watch(ME)
    assert (job.ticket.own_rank(), typed_job.ticket.own_rank()) == (VIEWED, TYPED)
    job.unwatch(ME)
    assert job.ticket.own_rank() == VIEWED, "another browser still shows it"
    job.watch(OTHER, seconds=-1.0)
    typed_job.watch(ME, seconds=-1.0)
    assert job.ticket.own_rank() == typed_job.ticket.own_rank() == BACKGROUND, "leases expire"


def test_a_job_in_view_starts_before_older_ones_in_the_background(desk: Desk, stage: Stage):
    jobs = Jobs(1)
    first = jobs.submit(plain, Query(1), desk, session=ME)
    until(lambda: runs(first))
    left = jobs.submit(plain, Query(2), desk)
    shown = jobs.submit(plain, Query(3), desk, session=ME)
    for number in (1, 2, 3):
        stage.let(number)
    assert left.result(10).number + shown.result(10).number == 5
    assert stage.ended == [1, 3, 2]


def test_background_work_parks_and_finishes_later(desk: Desk, stage: Stage):
    jobs = Jobs(1)
    left = jobs.submit(plain, Query(1), desk)
    until(lambda: runs(left))
    shown = jobs.submit(plain, Query(2), desk, session=ME)
    until(lambda: runs(shown))
    assert parked(left)
    assert jobs.in_front(left) is shown
    stage.let(1)
    stage.let(2)
    assert shown.result(10).number == 2
    assert left.result(10).number == 1
    assert stage.ended == [2, 1]
    assert left.ticket.waited > 0


def test_work_in_view_does_not_park_for_other_work_in_view(desk: Desk, stage: Stage):
    jobs = Jobs(1)
    mine = jobs.submit(plain, Query(1), desk, session=ME)
    until(lambda: runs(mine))
    theirs = jobs.submit(plain, Query(2), desk, session=OTHER)
    assert jobs.in_front(theirs) is mine
    stage.let(1)
    stage.let(2)
    assert theirs.result(10).number == 2
    assert stage.ended == [1, 2]


def test_the_same_query_from_a_page_takes_its_turn_back(desk: Desk, stage: Stage):
    jobs = Jobs(1)
    left = jobs.submit(plain, Query(1), desk)
    until(lambda: runs(left))
    shown = jobs.submit(plain, Query(2), desk, session=ME)
    until(lambda: runs(shown) and parked(left))
    shown.unwatch(ME)  # the page goes back to the first job
    assert jobs.submit(plain, Query(1), desk, session=ME) is left
    until(lambda: runs(left) and parked(shown))
    stage.let(1)
    assert left.result(10).number == 1
    stage.let(2)
    assert shown.result(10).number == 2


def test_typed_text_is_answered_while_all_workers_are_busy(desk: Desk, stage: Stage):
    jobs = Jobs(2)
    busy = [jobs.submit(plain, Query(number), desk, session=ME) for number in (1, 2)]
    until(lambda: all(map(runs, busy)))
    queued = jobs.submit(plain, Query(3), desk, session=ME)
    answer = jobs.submit(typed, Query(4), desk, session=ME)
    until(lambda: runs(answer))
    stage.let(4)
    assert answer.result(10).number == 4
    assert queued.started is None, "its worker stays free for typed text"


def test_a_needed_result_is_computed_first(desk: Desk, stage: Stage):
    """A parked job holds the key that an urgent one waits for, so it inherits its rank."""
    jobs = Jobs(1)
    left = jobs.submit(plain, Query(1), desk)
    until(lambda: runs(left))
    shown = jobs.submit(plain, Query(2), desk, session=ME)
    until(lambda: runs(shown) and parked(left))
    needing = jobs.submit(outer, Query(5), desk, session=OTHER)
    stage.let(2)
    shown.result(10)
    until(lambda: runs(left) and needing.ticket.state is State.BLOCKED)
    assert jobs.in_front(needing) is left
    more = jobs.submit(plain, Query(3), desk, session=ME)
    time.sleep(0.05)
    assert more.started is None, "it does not park the job that a page waits for"
    stage.let(3)
    stage.let(1)
    assert needing.result(10).number == 6
    more.result(10)


def test_a_parked_job_lends_its_device(desk: Desk, stage: Stage):
    jobs = Jobs(1)
    left = jobs.submit(on_device, Query(1), desk)
    until(lambda: runs(left))
    shown = jobs.submit(on_device, Query(2), desk, session=ME)
    until(lambda: runs(shown))
    assert stage.device.holder is shown.ticket
    stage.let(2)
    assert shown.result(10).number == 2
    until(lambda: stage.device.holder is left.ticket)
    stage.let(1)
    assert left.result(10).number == 1
    assert stage.device.holder is None


def test_the_device_goes_to_the_more_urgent_job_though_a_worker_is_free(desk: Desk, stage: Stage):
    jobs = Jobs(2)
    left = jobs.submit(on_device, Query(1), desk)
    until(lambda: runs(left))
    shown = jobs.submit(on_device, Query(2), desk, session=ME)
    until(lambda: runs(shown))
    stage.let(1)
    stage.let(2)
    assert (shown.result(10).number, left.result(10).number) == (2, 1)
    assert stage.ended == [2, 1]


@pytest.mark.parametrize("recipe", [on_device, in_library])
def test_a_job_with_hooks_on_a_model_or_a_lock_of_a_library_is_not_parked(desk: Desk, stage: Stage, recipe: object):
    jobs = Jobs(1)
    left = jobs.submit(recipe, Query(1, "hooks"), desk)  # type: ignore[arg-type]
    until(lambda: runs(left))
    shown = jobs.submit(on_device, Query(2), desk, session=ME)
    time.sleep(0.05)
    assert runs(left)
    assert shown.started is None
    stage.let(1)
    stage.let(2)
    assert shown.result(10).number == 2


def test_an_abandoned_job_ends_unless_another_browser_shows_it(desk: Desk, stage: Stage):
    jobs = Jobs(2)
    mine = jobs.submit(typed, Query(1), desk, session=ME)
    ours = jobs.submit(typed, Query(2), desk, session=ME)
    queued = jobs.submit(typed, Query(3), desk, session=ME)
    extra = jobs.submit(typed, Query(4), desk, session=ME)
    ours.watch(OTHER)
    until(lambda: runs(mine) and runs(ours) and runs(queued))
    for job in (mine, ours, extra):
        job.abandon(ME)
    for job in (mine, extra):
        with pytest.raises(Cancelled):
            job.result(10)
    assert extra.started is None
    stage.let(2)
    assert ours.result(10).number == 2
    stage.let(3)
    assert queued.result(10).number == 3


def test_an_abandoned_job_ends_the_step_that_others_need(desk: Desk, stage: Stage):
    jobs = Jobs(1)
    left = jobs.submit(typed_after, Query(5), desk, session=ME)
    until(lambda: left.fraction >= 0.5)
    left.abandon(ME)
    more = jobs.submit(typed_after, Query(6), desk, session=ME)
    until(lambda: more.ticket.state is State.BLOCKED)
    assert not left.done
    stage.let(1)
    with pytest.raises(Cancelled):
        left.result(10)
    assert stage.ended == [1]
    stage.let(6)
    assert more.result(10).number == 6
    assert stage.ended == [1, 6]


def test_an_abandoned_job_that_is_shown_again_goes_on(desk: Desk, stage: Stage):
    jobs = Jobs(1)
    left = jobs.submit(typed_after, Query(5), desk, session=ME)
    until(lambda: left.fraction >= 0.5)
    left.abandon(ME)
    assert jobs.submit(typed_after, Query(5), desk, session=ME) is left
    stage.let(1)
    stage.let(5)
    assert left.result(10).number == 5


@pytest.mark.parametrize("recipe", [plain, on_device])
def test_a_parked_job_can_be_cancelled(desk: Desk, stage: Stage, recipe: object):
    jobs = Jobs(1)
    left = jobs.submit(recipe, Query(1), desk)  # type: ignore[arg-type]
    until(lambda: runs(left))
    shown = jobs.submit(recipe, Query(2), desk, session=ME)  # type: ignore[arg-type]
    until(lambda: runs(shown))
    left.cancel()
    with pytest.raises(Cancelled):
        left.result(10)
    assert runs(shown)
    stage.let(2)
    assert shown.result(10).number == 2
    stage.let(1)
    assert jobs.submit(recipe, Query(1), desk).result(10).number == 1  # type: ignore[arg-type]


def test_an_error_after_parking_reaches_its_callers(desk: Desk, stage: Stage):
    jobs = Jobs(1)
    left = jobs.submit(on_device, Query(1, "bug"), desk)
    until(lambda: runs(left))
    shown = jobs.submit(on_device, Query(2), desk, session=ME)
    until(lambda: runs(shown))
    stage.let(1)
    stage.let(2)
    assert shown.result(10).number == 2
    with pytest.raises(CheckpointError, match="weights are gone"):
        left.result(10)
    assert stage.device.holder is None
    stage.let(3)
    assert jobs.submit(on_device, Query(3), desk).result(10).number == 3


def test_many_jobs_need_few_threads(desk: Desk, stage: Stage):
    jobs, before = Jobs(2), threading.active_count()
    waiting = [jobs.submit(on_device, Query(number), desk, session=ME) for number in range(18)]
    until(lambda: sum(job.started is not None for job in waiting) == 6)
    time.sleep(0.02)
    assert threading.active_count() - before <= 7
    for number in range(18):
        stage.let(number)
    assert [job.result(10).number for job in waiting] == list(range(18))


def test_two_servers_on_one_cache_wait_for_each_other(desk: Desk, stage: Stage):
    """The lock file of another process is held here by a second cache on the folder."""
    jobs, other = Jobs(1), Cache(desk.cache.folder)
    with other.lock(plain.key(Query(1))):
        job = jobs.submit(plain, Query(1), desk, session=ME)
        until(lambda: job.ticket.state is State.BLOCKED)
        assert jobs.in_front(job) is None
        second = jobs.submit(plain, Query(2), desk, session=ME)
        until(lambda: runs(second))  # a job that waits for another server keeps no worker from others
    stage.let(1)
    stage.let(2)
    assert job.result(10).number == 1
