"""A background job: progress, leases of the pages that show it, cancellation, and an error for all waiting threads."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Generic, TypeVar

from backend.caching.forecast import Part
from backend.caching.turns import BACKGROUND, TYPED, VIEWED, State, Ticket, Turns
from backend.errors import BusyError, Cancelled, LayershiftError

R = TypeVar("R")
log = logging.getLogger(__name__)

QUEUED = "Waiting for a free worker."
LEASE_SECONDS = 5.0
"""How long a page that stops asking for a job still counts as showing it; a page asks every half second."""
PACE_SECONDS, PACE_FRACTION = 5.0, 0.1
"""Time and fraction from which the remaining time is extrapolated."""


def write(title: str, key: str, seconds: float, how: str) -> None:
    """Write the line of a job to the log; `how` is "hit", "miss", or how it ended without a result."""
    log.info("job %r key=%s seconds=%.2f %s", title, key, seconds, how)


class Job(Generic[R]):
    """A running computation, shared by all callers that submitted the same query.

    `fraction` (0..1) and `sentence` are its progress, `title` is its name. `parts` are its steps with their expected
    seconds at submission, empty if unknown. `started` is a `time.monotonic()`, None while queued. A `typed` job answers
    a text that a user typed. It is urgent while a page shows it: see `watch`. `computed` tells whether the result was
    computed rather than found, by another job or server. After `most` seconds of its own work a job ends in an error.
    """

    def __init__(self, key: str, title: str, parts: Iterable[Part] = (), typed: bool = False) -> None:
        self.key = key
        self.title = title
        self.parts = tuple(parts)
        self.typed = typed
        self.fraction = 0.0
        self.sentence = QUEUED
        self.started: float | None = None
        self.computed = False
        self.most: float | int = math.inf
        self.failed: BaseException | None = None
        self.ticket = Ticket(self._rank)
        self._leases: dict[str, float] = {}
        self._abandoned = False
        self._turns: Turns | None = None
        self._trace: TracebackType | None = None
        self._result: R | None = None
        self._ended: float | None = None
        self._finished = threading.Event()
        self._cancel_requested = threading.Event()
        self._cancelled_at = math.inf
        self._lock = threading.Lock()
        self._ending = threading.Lock()
        self._has_ended = False
        self._on_end: Callable[[Job[R]], None] = lambda job: None

    @property
    def estimate(self) -> float | None:
        """Return the expected seconds at submission, None if unknown."""
        return sum(part.seconds for part in self.parts) if self.parts else None

    @property
    def done(self) -> bool:
        """Return whether the job has ended: with a result, with an error or cancelled."""
        return self._finished.is_set()

    @property
    def elapsed(self) -> float:
        """Return the seconds from start to now or to the end; 0 while queued."""
        if self.started is None:
            return 0.0
        return max(0.0, (time.monotonic() if self._ended is None else self._ended) - self.started)

    @property
    def waits(self) -> bool:
        """Return whether the job waits for other jobs: in the queue, parked, or for a lock."""
        return not self.done and self.ticket.state is not State.RUNNING

    @property
    def worked(self) -> float:
        """Return the seconds of its own work, without waiting."""
        return max(0.0, self.elapsed - self.ticket.waited)

    @property
    def left(self) -> float:
        """Return the expected seconds of work that are left, without waiting."""
        if self.done:
            return 0.0
        worked = self.worked
        expected = self.estimate or 1.0
        rest = max(expected - worked, (1 - self.fraction) * expected / 4)
        if worked < PACE_SECONDS or self.fraction < PACE_FRACTION:
            return rest
        paced = worked / self.fraction - worked
        return self.fraction * paced + (1 - self.fraction) * rest

    def watch(self, session: str, seconds: float = LEASE_SECONDS) -> None:
        """Count the job as shown by a browser session for the next seconds."""
        self._abandoned = False
        self._leases[session] = time.monotonic() + seconds

    def unwatch(self, session: str) -> None:
        """End the lease of a session, because its page shows something else."""
        self._leases.pop(session, None)

    def abandon(self, session: str) -> None:
        """End the lease of a session, and cancel the job unless another session shows it.

        A step whose result other jobs need too, such as a readout of the sample, ends first.
        """
        self.unwatch(session)
        self._abandoned = not self._is_shown()
        self._cancel_if_abandoned()

    def _cancel_if_abandoned(self) -> None:
        if self._abandoned and not self.ticket.shared and not self.done:
            self.cancel()

    def _is_shown(self) -> bool:
        now = time.monotonic()
        return any(end >= now for end in list(self._leases.values()))

    def _rank(self) -> int:
        if not self._is_shown():
            return BACKGROUND
        return TYPED if self.typed else VIEWED

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

        A queued job ends at once, a running job at its next progress report, a parked one where it is parked; without
        another report, it ends with its result. Leaving a page does not cancel. Submitting the query again starts a
        new job.
        """
        self._cancelled_at = min(self._cancelled_at, time.monotonic())
        self._cancel_requested.set()
        self._on_end(self)
        with self._lock:
            if self.started is None:
                self._end(failed=self._cancelled())
        if self._turns is not None:
            self._turns.cancel(self.ticket)

    def report(self, fraction: float | int, sentence: str) -> None:
        """Update the progress of the recipe, and give way to more urgent jobs. Raises Cancelled after `cancel`."""
        self._cancel_if_abandoned()
        self._stop_if_cancelled()
        self.fraction = min(1.0, max(0.0, float(fraction)))
        self.sentence = sentence
        if self._turns is not None:
            self._turns.step_aside(self.ticket, self._stop_if_cancelled)
            self._stop_if_cancelled()

    def _stop_if_cancelled(self) -> None:
        if self._cancel_requested.is_set():
            raise self._cancelled()
        if self.worked > self.most:
            raise self._late()

    def give_up(self, patience: float) -> bool:
        """End a running job that is beyond its time, or does not listen to `cancel`; return whether it was given up.

        For its callers it ends at once. Its thread cannot be stopped: it goes on until it reports progress.
        """
        silent = time.monotonic() - self._cancelled_at > patience
        if self.done or self.started is None or not (silent or self.worked > self.most + patience):
            return False
        failed = self._cancelled() if silent else self._late()
        self._cancel_requested.set()
        self._end(failed=failed)
        log.warning("%r (%s) was given up: its thread does not report progress", self.title, self.key)
        return True

    def _late(self) -> BusyError:
        return BusyError(
            f"{self.title} was stopped after {self.most:,.0f} s of work, the most that a job may take; ask for less, "
            f"or raise LAYERSHIFT_JOB_SECONDS."
        )

    def _cancelled(self) -> Cancelled:
        return Cancelled(f"{self.title} was cancelled; request it again to restart.")

    def _run(self, work: Callable[[], R]) -> None:
        """Run the job in a worker thread; every error is kept for the waiting callers."""
        with self._lock:
            if self.done:
                return
            self.started = time.monotonic()
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
        with self._ending:
            if self._has_ended:
                return
            self._has_ended = True
        self._result, self.failed = result, failed
        if failed is None:
            self.fraction, self.sentence = 1.0, "Done."
        else:
            self._trace, self.sentence = failed.__traceback__, str(failed) or type(failed).__name__
        self._ended = time.monotonic()
        self._on_end(self)
        self._log()
        self._finished.set()

    def _log(self) -> None:
        """Write the job's line to the log: its title, key and seconds, and whether its result was found."""
        if self.failed is None:
            how = "miss" if self.computed else "hit"
        else:
            how = "cancelled" if isinstance(self.failed, Cancelled) else f"failed ({type(self.failed).__name__})"
        write(self.title, self.key, self.elapsed, how)
