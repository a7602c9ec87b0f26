"""Layers side by side: in order, reported in the calling thread, stopped by what a report raises."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from backend.errors import Cancelled
from backend.stats import by_layer


def blas_threads() -> set[int]:
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


def test_results_are_in_order_and_linear_algebra_has_one_thread():
    before, reports = blas_threads(), []
    assert by_layer.measured(lambda layer: (layer, blas_threads()), [3, 1, 2], 10, reports.append) == [
        (3, {1}),
        (1, {1}),
        (2, {1}),
    ]
    assert reports == pytest.approx([1 / 3, 2 / 3, 1])
    assert blas_threads() == before
    assert by_layer.measured(lambda layer: layer, [], 10) == []


def test_a_measure_may_measure_layers_itself():
    def sums(layer: int) -> int:
        return sum(by_layer.measured(lambda inner: inner * layer, [1, 2, 3], 1))

    assert by_layer.measured(sums, [1, 2], 1) == [6, 12]


def test_two_jobs_at_once_leave_the_number_of_threads_as_it_was():
    before, started, done = blas_threads(), threading.Event(), threading.Event()

    def slow(layer: int) -> int:
        started.set()
        done.wait(10)
        return layer

    first = threading.Thread(target=lambda: by_layer.measured(slow, [0], 1))
    first.start()
    started.wait(10)
    by_layer.measured(lambda layer: layer, [0, 1], 1)
    done.set()
    first.join(10)
    assert blas_threads() == before


def test_what_a_measure_or_a_report_raises_ends_the_work():
    with pytest.raises(ZeroDivisionError):
        by_layer.measured(lambda layer: 1 / layer, range(5), 1)
    measured: list[int] = []

    def cancel(_share: float) -> None:
        raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled):
        by_layer.measured(measured.append, range(1000), 1, cancel)
    assert len(measured) < 1000


def test_large_layers_take_turns(monkeypatch: pytest.MonkeyPatch):
    under_way, most, lock = [0], [0], threading.Lock()

    def measure(_layer: int) -> None:
        with lock:
            under_way[0] += 1
            most[0] = max(most[0], under_way[0])
        np.linalg.eigvalsh(np.eye(60))
        with lock:
            under_way[0] -= 1

    by_layer.measured(measure, range(20), by_layer.WORKING_BYTES)
    assert most == [1]
