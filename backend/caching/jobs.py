"""Background work: one flight per key, with progress, cancel and errors that reach whoever waits."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

from backend.caching.memoize import Recipe
from backend.errors import Cancelled, LayershiftError

R = TypeVar("R")
log = logging.getLogger(__name__)

QUEUED = "Waiting for a free worker."


class Job(Generic[R]):
    """One computation on its way, shared by everybody who submitted the same query.

    `fraction` (0..1) and `sentence` say how far it is, `title` what it is; `estimate` is the seconds of model time
    expected when it was submitted (None if nobody can say); `started` is a `time.time()`, None while it is queued.
    """

    def __init__(self, key: str, title: str, estimate: float | None = None) -> None:
        self.key = key
        self.title = title
        self.estimate = estimate
        self.fraction = 0.0
        self.sentence = QUEUED
        self.started: float | None = None
        self.failed: BaseException | None = None
        self._trace: TracebackType | None = None
        self._result: R | None = None
        self._ended: float | None = None
        self._over = threading.Event()
        self._unwanted = threading.Event()
        self._guard = threading.Lock()
        self._leave: Callable[[Job[R]], None] = lambda job: None

    @property
    def done(self) -> bool:
        """Whether it has ended: with a result, with an error or cancelled."""
        return self._over.is_set()

    @property
    def elapsed(self) -> float:
        """Seconds since a worker began, up to the end; 0 while it is queued."""
        if self.started is None:
            return 0.0
        return max(0.0, (time.time() if self._ended is None else self._ended) - self.started)

    def wait(self, timeout: float | int) -> bool:
        """Whether it has ended, after at most `timeout` seconds."""
        return self._over.wait(timeout)

    def result(self, timeout: float | int | None = None) -> R:
        """Wait for the result. Raises TimeoutError after `timeout` seconds, Cancelled, or what the recipe raised."""
        if not self._over.wait(timeout):
            raise TimeoutError(f"{self.title} is not finished after {timeout} s.")
        if self.failed is not None:
            # Each waiter starts from the worker's traceback; otherwise every rerun of a page would lengthen it.
            raise self.failed.with_traceback(self._trace)
        return self._result  # type: ignore[return-value]

    def cancel(self) -> None:
        """Stop the work, for everybody who waits for it: they get Cancelled.

        A queued job ends at once, a running one at its next progress report (one that never reports again ends with
        its result). Leaving a page is not cancelling. A resubmitted query starts a new job.
        """
        self._unwanted.set()
        self._leave(self)
        with self._guard:
            if self.started is None:
                self._end(failed=self._cancelled())

    def report(self, fraction: float | int, sentence: str) -> None:
        """Progress of the recipe; raises Cancelled when the work is no longer wanted."""
        if self._unwanted.is_set():
            raise self._cancelled()
        self.fraction = min(1.0, max(0.0, float(fraction)))
        self.sentence = sentence

    def _cancelled(self) -> Cancelled:
        return Cancelled(f"{self.title} was cancelled; ask again to start it anew.")

    def _run(self, work: Callable[[], R]) -> None:
        """Do the work in a worker's thread; every error is kept for those who wait, never swallowed."""
        with self._guard:
            if self.done:
                return
            self.started = time.time()
            self.sentence = "Starting."
        try:
            self._end(result=work())
        except LayershiftError as error:
            self._end(failed=error)
        except BaseException as error:
            log.exception("%s failed", self.title)
            self._end(failed=error)

    def _end(self, result: R | None = None, failed: BaseException | None = None) -> None:
        """Publish the end, once."""
        if self.done:
            return
        self._result, self.failed = result, failed
        if failed is None:
            self.fraction, self.sentence = 1.0, "Done."
        else:
            self._trace, self.sentence = failed.__traceback__, str(failed) or type(failed).__name__
        self._ended = time.time()
        self._leave(self)
        self._over.set()


class Jobs:
    """A few daemon workers and the jobs in flight, at most one per key.

    More than a page asks for at once, so that a map which takes minutes holds up no other page; what needs a device
    waits for it there.
    Daemons: an interpreter that exits waits for none of them, and results not yet kept are computed again next time.
    """

    def __init__(self, workers: int = 4) -> None:
        self._workers = workers
        self._waiting: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._jobs: dict[str, Job[Any]] = {}
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def submit(self, recipe: Recipe[Any, Any, R], query: Any, lab: Any, title: str | None = None) -> Job[R]:
        """The job that computes `recipe(query, lab)`: one in flight already, or a new one, queued in order of arrival.

        A result that is in the cache comes as a job that is done. `title` defaults to the recipe's module and the
        label of the query's checkpoint.
        """
        key = recipe.key(query)
        with self._lock:
            if key in self._jobs:
                return self._jobs[key]
        found = recipe.peek(query, lab)
        job: Job[R] = Job(key, title or _title(recipe, query), None if found is not None else _estimate(query, lab))
        if found is not None:
            job._end(result=found)
            return job
        with self._lock:
            if key in self._jobs:
                return self._jobs[key]
            self._jobs[key] = job
            job._leave = self._forget
            self._waiting.put(lambda: job._run(lambda: recipe(query, lab.watched(job.report))))
            if len(self._threads) < self._workers:
                name = f"job-{len(self._threads) + 1}"
                self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
                self._threads[-1].start()
        return job

    def active(self) -> list[Job[Any]]:
        """The jobs that are queued or running, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def _work(self) -> None:
        while True:
            self._waiting.get()()

    def _forget(self, job: Job[Any]) -> None:
        """Take a job that has ended off the list, so that a resubmitted query is tried again."""
        with self._lock:
            if self._jobs.get(job.key) is job:
                del self._jobs[job.key]


def _title(recipe: Recipe[Any, Any, Any], query: Any) -> str:
    """What a page calls the job, e.g. `direction of epoch 1`."""
    words = recipe.__name__ if recipe.__name__ != "recipe" else recipe.__module__.rpartition(".")[2]
    label = getattr(getattr(query, "checkpoint", None), "label", None)
    return words.replace("_", " ") + (f" of {label}" if label else "")


def _estimate(query: Any, lab: Any) -> float | None:
    """Expected seconds of model time, if the lab can say; an unusable checkpoint is told by the job itself."""
    seconds = getattr(lab, "seconds", None)
    if seconds is None:
        return None
    try:
        return float(seconds(query))
    except LayershiftError:
        return None
