"""Background jobs: one per key, with progress, cancellation, and errors that reach all waiting threads."""

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
    """A running computation, shared by all callers that submitted the same query.

    `fraction` (0..1) and `sentence` are its progress, `title` is its name. `estimate` is the expected model time in
    seconds at submission (None if unknown). `started` is a `time.time()`, None while queued.
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
        self._finished = threading.Event()
        self._cancel_requested = threading.Event()
        self._lock = threading.Lock()
        self._on_end: Callable[[Job[R]], None] = lambda job: None

    @property
    def done(self) -> bool:
        """Return whether the job has ended: with a result, with an error or cancelled."""
        return self._finished.is_set()

    @property
    def elapsed(self) -> float:
        """Return the seconds from start to now or to the end; 0 while queued."""
        if self.started is None:
            return 0.0
        return max(0.0, (time.time() if self._ended is None else self._ended) - self.started)

    def wait(self, timeout: float | int) -> bool:
        """Wait at most `timeout` seconds; return whether the job has ended."""
        return self._finished.wait(timeout)

    def result(self, timeout: float | int | None = None) -> R:
        """Wait for the result. Raises TimeoutError after `timeout` seconds, Cancelled, or what the recipe raised."""
        if not self._finished.wait(timeout):
            raise TimeoutError(f"{self.title} is not finished after {timeout} s.")
        if self.failed is not None:
            # Start from the worker's traceback; otherwise every rerun of a page would lengthen it.
            raise self.failed.with_traceback(self._trace)
        return self._result  # type: ignore[return-value]

    def cancel(self) -> None:
        """Stop the job for all waiting callers: they receive Cancelled.

        A queued job ends at once, a running job at its next progress report; without another report, it ends with its
        result. Leaving a page does not cancel. Submitting the query again starts a new job.
        """
        self._cancel_requested.set()
        self._on_end(self)
        with self._lock:
            if self.started is None:
                self._end(failed=self._cancelled())

    def report(self, fraction: float | int, sentence: str) -> None:
        """Update the progress of the recipe. Raises Cancelled after `cancel`."""
        if self._cancel_requested.is_set():
            raise self._cancelled()
        self.fraction = min(1.0, max(0.0, float(fraction)))
        self.sentence = sentence

    def _cancelled(self) -> Cancelled:
        return Cancelled(f"{self.title} was cancelled; request it again to restart.")

    def _run(self, work: Callable[[], R]) -> None:
        """Run the job in a worker thread; every error is kept for the waiting callers."""
        with self._lock:
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
        """Set the result or error, once."""
        if self.done:
            return
        self._result, self.failed = result, failed
        if failed is None:
            self.fraction, self.sentence = 1.0, "Done."
        else:
            self._trace, self.sentence = failed.__traceback__, str(failed) or type(failed).__name__
        self._ended = time.time()
        self._on_end(self)
        self._finished.set()


class Jobs:
    """A few daemon workers and the running jobs, at most one per key.

    There are more workers than a page needs, so that a map of several minutes does not block other pages. Jobs wait for
    the device themselves. Daemon threads do not delay the exit of the interpreter; unfinished results are computed
    again next time.
    """

    def __init__(self, workers: int = 4) -> None:
        self._workers = workers
        self._queue: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._jobs: dict[str, Job[Any]] = {}
        self._lock = threading.Lock()
        self._threads: list[threading.Thread] = []

    def submit(self, recipe: Recipe[Any, Any, R], query: Any, lab: Any, title: str | None = None) -> Job[R]:
        """Return the job that computes `recipe(query, lab)`: the running one, or a new one at the end of the queue.

        For a cached result, the job is already done. `title` defaults to the module of the recipe and the label of the
        query's checkpoint.
        """
        key = recipe.key(query)
        with self._lock:
            if key in self._jobs:
                return self._jobs[key]
        cached = recipe.peek(query, lab)
        job: Job[R] = Job(key, title or _title(recipe, query), None if cached is not None else _estimate(query, lab))
        if cached is not None:
            job._end(result=cached)
            return job
        with self._lock:
            if key in self._jobs:
                return self._jobs[key]
            self._jobs[key] = job
            job._on_end = self._forget
            self._queue.put(lambda: job._run(lambda: recipe(query, lab.watched(job.report))))
            if len(self._threads) < self._workers:
                name = f"job-{len(self._threads) + 1}"
                self._threads.append(threading.Thread(target=self._work, name=name, daemon=True))
                self._threads[-1].start()
        return job

    def active(self) -> list[Job[Any]]:
        """Return the queued and running jobs, oldest first."""
        with self._lock:
            return list(self._jobs.values())

    def _work(self) -> None:
        while True:
            self._queue.get()()

    def _forget(self, job: Job[Any]) -> None:
        """Remove an ended job from the list, so that its query can be submitted again."""
        with self._lock:
            if self._jobs.get(job.key) is job:
                del self._jobs[job.key]


def _title(recipe: Recipe[Any, Any, Any], query: Any) -> str:
    """Return the name of a job on pages, e.g. `direction of epoch 1`."""
    words = recipe.__name__ if recipe.__name__ != "recipe" else recipe.__module__.rpartition(".")[2]
    label = getattr(getattr(query, "checkpoint", None), "label", None)
    return words.replace("_", " ") + (f" of {label}" if label else "")


def _estimate(query: Any, lab: Any) -> float | None:
    """Return the expected model time in seconds, None if unknown; the job itself reports unusable checkpoints."""
    seconds = getattr(lab, "seconds", None)
    if seconds is None:
        return None
    try:
        return float(seconds(query))
    except LayershiftError:
        return None
