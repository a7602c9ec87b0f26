"""Return results from the cache, or compute them in the background and show their progress."""

from __future__ import annotations

import gc
import logging
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import streamlit as st
from streamlit.runtime.scriptrunner import get_script_run_ctx, script_runner
from streamlit.runtime.scriptrunner_utils import script_requests

from backend import wiring
from backend.caching.job import Job
from backend.caching.memoize import Request
from backend.errors import Cancelled, LayershiftError
from backend.lab.lab import Lab
from backend.vocabulary.markdown import plain

POLL_SECONDS = 0.5
LINGER_SECONDS = 1.0
"""How long a page waits for work of which less than a second is expected, rather than show a bar and come back."""
LONG_SECONDS = 60.0
"""Work expected to take longer starts on a button, where otherwise choosing a text would start it."""
MOST_HELD, MOST_NOTED = 64, 2000
Beside = Callable[[], None] | None
"""Draws partial results while work goes on."""
R = TypeVar("R")
_modules = 0


def ignore_late_timers(record: logging.LogRecord) -> bool:
    """Drop Streamlit's line on a timer of the browser that ticks once more after its progress bar is gone.

    Streamlit 1.67 offers no way to prevent it. The browser owns the timer of `run_every` and stops it when it hears
    that the page was drawn without the fragment; the server has forgotten the fragment by then, and a tick that is on
    its way in between finds none. The tick does nothing.
    """
    return "does not exist anymore" not in record.msg


logging.getLogger("streamlit.runtime.app_session").addFilter(ignore_late_timers)


class _Requests(script_requests.ScriptRequests):
    """What a browser and the running page ask of the server; a click on a link stands until its page begins.

    Streamlit 1.67 takes the page of the newest request: a timer, or a page that reruns because its work is done, undid
    the click that waited for the same run to end.
    """

    def _request_rerun_locked(self, new_data: script_requests.RerunData) -> bool:
        context = get_script_run_ctx(suppress_warning=True)
        own = context is not None and context.page_script_hash == new_data.page_script_hash
        leaves = self._state == script_requests.ScriptRequestType.RERUN and self._rerun_data.page_script_hash
        if leaves and leaves != new_data.page_script_hash and (own or new_data.fragment_id):
            return True
        return super()._request_rerun_locked(new_data)


script_runner.ScriptRequests = _Requests  # pyright: ignore[reportPrivateImportUsage]


def spare_the_collector() -> None:
    """Exclude loaded modules from the full garbage collection that Streamlit does after every run.

    It looks at every object of every module: 0.14 s of a core per run, 0.26 s once torch is there, and no other thread
    runs meanwhile: pictures came late, and a page that polled for progress slowed the very import that it waited for.
    """
    global _modules  # noqa: PLW0603 - the collector is one per process too
    if len(sys.modules) > _modules:
        _modules = len(sys.modules)
        gc.freeze()


def known(requests: Sequence[Request[R]], lab: Lab) -> list[R] | None:
    """The results of all requests if the cache has them, else None; nothing is computed."""
    results = [result for request in requests if (result := request.peek(lab)) is not None]
    return results if len(results) == len(requests) else None


def on_demand(
    requests: Sequence[Request[R]], lab: Lab, what: str, offer: str, beside: Beside = None, beyond: float = 0.0
) -> list[R] | None:
    """Return `results` of long work, which starts when the user presses the button `offer` with its cost.

    Cached results, work that is under way, and work of at most `beyond` seconds need no button.
    """
    under_way = {job.key for job in wiring.jobs().active()} | st.session_state.setdefault("_jobs", {}).keys()
    missing = [request for request in requests if request.peek(lab) is None]
    seconds = lab.seconds(*(request.query for request in missing))
    if seconds > beyond and any(request.key not in under_way for request in missing):
        place = st.empty()
        if not place.button(f"{offer} (about {said_seconds(seconds)})", key=f"offer-{what}"):
            return None
        place.empty()
    return results(requests, lab, what, beside)


def said_seconds(seconds: float) -> str:
    """Format a duration for people."""
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"


def results(requests: Sequence[Request[R]], lab: Lab, what: str, beside: Beside = None) -> list[R] | None:
    """The results of requests, or None while they are computed: then progress is shown in their place.

    Nothing is computed here: what is not in the cache is submitted, once for all browsers, and the page redraws itself
    when it has landed. `what` names the work for the progress bar; parts of a page that wait at once name it unlike.
    `beside` draws what else can be seen of the work while it goes on.
    """
    found = [request.peek(lab) for request in requests]
    _note([request for request, result in zip(requests, found, strict=True) if result is not None], lab)
    held: dict[str, Job[Any]] = st.session_state.setdefault("_jobs", {})
    jobs = {
        place: _job(request, lab, held)
        for place, (request, result) in enumerate(zip(requests, found, strict=True))
        if result is None
    }
    _linger(list(jobs.values()))
    for place, job in jobs.items():
        if job.done and job.failed is None:
            found[place] = job.result()
    failed = next((job for job in jobs.values() if job.failed is not None), None)
    there = [result for result in found if result is not None]
    waiting = len(there) < len(found)
    if failed:
        _failure(failed, held, what)
    elif waiting:
        _progress([job for job in jobs.values() if not job.done], what, beside)
    return None if waiting else there


def _note(requests: Sequence[Request[Any]], lab: Lab) -> None:
    """Count results that were found, and write a log line the first time that this session shows one."""
    lab.cache.tally.hits += len(requests)
    noted: dict[str, None] = st.session_state.setdefault("_noted", {})
    for request in requests:
        if request.key not in noted:
            noted[request.key] = None
            wiring.jobs().found(request.recipe, request.query)
    while len(noted) > MOST_NOTED:
        del noted[next(iter(noted))]


def _job(request: Request[R], lab: Lab, held: dict[str, Job[Any]]) -> Job[R]:
    """The job that this browser has asked for already, or a new one; the newest are held, the others forgotten."""
    key = request.key
    job = held.pop(key, None) or wiring.jobs().submit(request.recipe, request.query, lab, session=_session())
    held[key] = job
    st.session_state["_noted"][key] = None
    _watch([job])
    while len(held) > MOST_HELD:
        del held[next(iter(held))]
    return held[key]


def _linger(jobs: Sequence[Job[Any]]) -> None:
    """Give short work the time to land: a bar that is gone at once would flicker, and cost a second run of the page."""
    if wiring.jobs().seconds_left(jobs) < LINGER_SECONDS:
        end = time.monotonic() + LINGER_SECONDS
        for job in jobs:
            job.wait(max(0.0, end - time.monotonic()))


def _failure(job: Job[Any], held: dict[str, Job[Any]], what: str) -> None:
    """Show why a job failed, and a button to try again."""
    if isinstance(job.failed, Cancelled):
        st.info(plain(str(job.failed)))
    elif isinstance(job.failed, LayershiftError):
        st.error(plain(str(job.failed)))
    else:
        st.error(f"“{plain(job.title)}” failed because of a bug. See the server's log under that name.")
    if st.button("Try again", key=f"again-{what}-{job.key}"):
        held.pop(job.key, None)
        st.rerun()


@st.fragment(run_every=POLL_SECONDS)
def _progress(jobs: Sequence[Job[Any]], what: str, beside: Beside) -> None:
    """Show a progress bar with one line of text, and buttons to cancel the work or what it waits for."""
    spare_the_collector()
    if all(job.done for job in jobs):
        st.rerun()
    _watch(jobs)
    everything, left = wiring.jobs(), wiring.jobs().seconds_left(jobs)
    shown = next((job for job in jobs if not job.done and not job.waits), None)
    front = None if shown else next(filter(None, map(everything.in_front, jobs)), None)
    fraction = _fraction(jobs)
    if front is None or front in jobs:
        line = said(what, shown or next((job for job in jobs if not job.done), jobs[0]), left)
    else:
        line = f"Waiting for {front.title} (about {said_seconds(everything.seconds_left([front]))} left)"
    st.progress(fraction, text=plain(line))
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button("Cancel", key=f"cancel-{what}-{jobs[0].key}"):
            for job in jobs:
                job.cancel()
            st.rerun()
        if front is not None and front not in jobs and st.button("Stop that", key=f"stop-{what}-{jobs[0].key}"):
            front.cancel()
            st.rerun(scope="fragment")
    if beside is not None:
        beside()


def said(what: str, job: Job[Any], left: float) -> str:
    """Return the line of a bar: the work, its current step and the time left, e.g. `Maps: layer 3, about 9 s left`."""
    step = "queued" if job.started is None else job.sentence.rstrip(".")
    return f"{what}: {step}, about {said_seconds(left)} left"


def _fraction(jobs: Sequence[Job[Any]]) -> float:
    """Return the share of the work of all jobs that is done, by their expected seconds."""
    costs = [max(0.1, job.estimate or 0.0) for job in jobs]
    return sum(cost * (1.0 if job.done else job.fraction) for cost, job in zip(costs, jobs, strict=True)) / sum(costs)


def _session() -> str:
    """Return the name of this browser session."""
    return st.session_state.setdefault("_session", uuid.uuid4().hex)


def _watch(jobs: Sequence[Job[Any]]) -> None:
    """Renew the leases of the jobs that this page shows."""
    for job in jobs:
        job.watch(_session())
    st.session_state.setdefault("_shown", set()).update(job.key for job in jobs)


@contextmanager
def showing() -> Iterator[None]:
    """Draw a page inside; jobs that it no longer shows go to the background at its end, and all if it is a new page."""
    before = st.session_state.pop("_shown", set())
    yield
    left_behind = before - st.session_state.get("_shown", set())
    for job in wiring.jobs().active() if left_behind else ():
        if job.key in left_behind:
            job.unwatch(_session())


def drop_typed(text: str) -> None:
    """Cancel this session's work on the texts that were typed before this one."""
    if st.session_state.get("_typed", text) != text:
        held: dict[str, Job[Any]] = st.session_state.setdefault("_jobs", {})
        for key, job in list(held.items()):
            if job.typed:
                job.abandon(_session())
                del held[key]
    st.session_state["_typed"] = text


def leave() -> None:
    """Put all jobs of this session into the background: the browser went to another page."""
    for job in wiring.jobs().active():
        job.unwatch(_session())
