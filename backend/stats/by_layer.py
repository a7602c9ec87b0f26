"""Measure layers side by side: one thread for each, and one thread of linear algebra in it.

A decomposition of a few hundred rows is slower on many threads than on one, and layers are independent. With one
thread each, a result does not depend on the number of cores either.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TypeVar

from threadpoolctl import ThreadpoolController

T = TypeVar("T")
WORKING_BYTES = 4 << 30
"""Memory that the layers under way may take together."""
COPIES = 6
"""Arrays of the size of one layer, in double precision, that measuring a layer holds at once."""


def measured(
    measure: Callable[[int], T],
    layers: Sequence[int],
    size: int,
    report: Callable[[float], None] = lambda _: None,
) -> list[T]:
    """Return measure(layer) of each layer, in order; `size` is the number of values of a layer.

    `report` receives the share done, in the calling thread; what it raises ends the work after the layers under way.
    """
    threads = min(len(layers), _threads(size))
    with _one_thread():
        if threads < 2:
            return [_reported(measure(layer), done / len(layers), report) for done, layer in enumerate(layers, 1)]
        with ThreadPoolExecutor(threads, "layer") as pool:
            futures = [pool.submit(measure, layer) for layer in layers[:threads]]
            waiting = set(futures)
            for done in range(1, len(layers) + 1):
                ended = next(as_completed(waiting))
                waiting.remove(ended)
                _reported(ended.result(), done / len(layers), report)  # a job may be parked here, and no layer starts
                if len(futures) < len(layers):
                    futures.append(pool.submit(measure, layers[len(futures)]))
                    waiting.add(futures[-1])
            return [future.result() for future in futures]


def _reported(result: T, share: float, report: Callable[[float], None]) -> T:
    report(share)
    return result


def _threads(size: int) -> int:
    """Return how many layers of this many values to measure at once: one per core, as memory allows."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, WORKING_BYTES // max(1, 8 * COPIES * size)))


_lock, _users, _limits = threading.Lock(), 0, []


@contextmanager
def _one_thread() -> Iterator[None]:
    """Keep linear algebra on one thread while anything is measured; the limit belongs to the process."""
    global _users  # noqa: PLW0603 - the number of threads is a setting of the process
    with _lock:
        if _users == 0:
            _limits.append(ThreadpoolController().limit(limits=1, user_api="blas"))  # some libraries load late
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if _users == 0:
                _limits.pop().restore_original_limits()
