"""The background jobs of this process: one per key, in turns."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from backend.caching.forecast import Part, ends, rest
from backend.caching.job import Job, write
from backend.caching.limits import Gate, Limits
from backend.caching.memoize import Recipe
from backend.caching.turns import POLL_SECONDS, TYPED, State, Ticket, Turns
from backend.errors import LayershiftError

R = TypeVar("R")


class Jobs:
    """The jobs of this process, at most one per key, and the daemon threads that run them in `Turns`.

    `workers` jobs run at once, and one more of a typed text, within `limits`. Daemon threads do not delay the exit of
    the interpreter; unfinished results are computed again next time.
    """

    def __init__(self, workers: int = 2, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._gate = Gate(self.limits)
        self._turns = Turns(workers)
        self._running: list[Job[Any]] = []
        self._jobs: dict[str, Job[Any]] = {}
        self._work: dict[Ticket, tuple[Job[Any], Callable[[], Any]]] = {}
        self._lock = threading.Lock()
        self._idle = self._started = 0

    def submit(
        self, recipe: Recipe[Any, Any, R], query: Any, lab: Any, title: str | None = None, session: str | None = None
    ) -> Job[R]:
        """Return the job that computes `recipe(query, lab)`: the one under way, or a new one.

        For a cached result, the job is already done. `title` defaults to the module of the recipe and the label of the
        query's checkpoint. `session` is the browser session that shows the job, None for work in the background. Raises
        BusyError beyond the limits.
        """
        key = recipe.key(query)
        self._give_up()
        with self._lock:
            job = self._jobs.get(key)
        if job is None:
            job = self._new(key, recipe, query, lab, title, session)
        if session is not None:
            job.watch(session)
        self._turns.look()
        return job

    def found(self, recipe: Recipe[Any, Any, Any], query: Any) -> None:
        """Write the log line of a result that a page found in the cache, so that it needed no job."""
        write(_title(recipe, query), recipe.key(query), 0.0, "hit")

    def active(self) -> list[Job[Any]]:
        """Return the queued and running jobs, oldest first."""
        self._give_up()
        with self._lock:
            return list(self._jobs.values())

    def seconds_left(self, jobs: Iterable[Job[Any]]) -> float:
        """Return the expected seconds until all of these jobs have ended, with the work that goes before them."""
        wanted = [job for job in jobs if not job.done]
        if not wanted:
            return 0.0
        by_ticket = {job.ticket: job for job in self.active()}
        rank = max(self._turns.rank(job.ticket) for job in wanted)
        order = [
            job
            for ticket in self._turns.order()
            if (job := by_ticket.get(ticket)) is not None and (job in wanted or self._turns.rank(ticket) <= rank)
        ]
        order += [job for job in wanted if job not in order]
        parts = [rest(job.parts or (Part(job.key, 1.0),), job.left) for job in order]
        workers = self._turns.workers + (rank == TYPED)
        return max(end for job, end in zip(order, ends(parts, workers), strict=True) if job in wanted)

    def in_front(self, job: Job[Any]) -> Job[Any] | None:
        """Return the job that a waiting job waits for: the holder of a lock, or the next to end its turn."""
        if not job.waits:
            return None
        holder = job.ticket.holder()
        others = [other for other in self.active() if other is not job and not other.done]
        if job.ticket.state is State.BLOCKED:
            return next((other for other in others if other.ticket is holder), None)
        running = [other for other in others if other.ticket.state is State.RUNNING]
        return min(running, key=lambda other: other.left, default=None)

    def _new(
        self, key: str, recipe: Recipe[Any, Any, R], query: Any, lab: Any, title: str | None, session: str | None
    ) -> Job[R]:
        """Queue a job, or return the one that another thread has queued meanwhile."""
        cached = recipe.peek(query, lab)
        parts = () if cached is not None else _parts(query, lab)
        job: Job[R] = Job(key, title or _title(recipe, query), parts, recipe.private)
        if cached is not None:
            job._end(result=cached)
            return job
        with self._lock:
            if key in self._jobs:
                return self._jobs[key]
            self._gate.enter(session, len(self._jobs))
            self._jobs[key] = job
        job.most = self.limits.seconds
        job._on_end = self._forget
        job._turns = self._turns
        with self._turns.changed:
            self._work[job.ticket] = job, lambda: _fetched(job, recipe, query, lab)
            self._turns.add(job.ticket)
            self._staff()
        return job

    def _staff(self) -> None:
        """Start a thread if there is none for the next queued job."""
        if self._work and not self._idle:
            self._idle += 1
            self._started += 1
            threading.Thread(target=self._serve, name=f"job-{self._started}", daemon=True).start()

    def _serve(self) -> None:
        """Run queued jobs, one after the other."""
        while True:
            with self._turns.changed:
                while (ticket := self._turns.next()) is None:
                    self._turns.changed.wait(POLL_SECONDS if self._work else None)
                job, work = self._work.pop(ticket)
                self._idle -= 1
                self._staff()
            self._running.append(job)
            with self._turns.running(ticket):
                job._run(work)
            self._running.remove(job)
            del job, work, ticket
            with self._turns.changed:
                self._idle += 1

    def _give_up(self) -> None:
        """End the jobs that neither end nor listen, so that others get their turns."""
        for job in list(self._running):
            if job.give_up(self.limits.patience):
                self._turns.end(job.ticket)

    def _forget(self, job: Job[Any]) -> None:
        """Remove an ended job from the list, so that its query can be submitted again."""
        with self._lock:
            if self._jobs.get(job.key) is job:
                del self._jobs[job.key]


def _fetched(job: Job[R], recipe: Recipe[Any, Any, R], query: Any, lab: Any) -> R:
    """Return the result of a job, which then knows whether it was computed."""
    result, job.computed = recipe.fetch(query, lab.watched(job.report))
    return result


def _title(recipe: Recipe[Any, Any, Any], query: Any) -> str:
    """Return the name of a job on pages, e.g. `direction of epoch 1`."""
    words = recipe.__name__ if recipe.__name__ != "recipe" else recipe.__module__.rpartition(".")[2]
    label = getattr(getattr(query, "checkpoint", None), "label", None)
    return words.replace("_", " ") + (f" of {label}" if label else "")


def _parts(query: Any, lab: Any) -> tuple[Part, ...]:
    """Return the expected steps, none if unknown; the job itself reports unusable checkpoints."""
    parts = getattr(lab, "parts", None)
    if parts is None:
        return ()
    try:
        return tuple(parts(query))
    except LayershiftError:
        return ()
