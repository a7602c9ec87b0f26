"""What a computation takes itself."""

from __future__ import annotations

import time

from backend.caching.stopwatch import Stopwatch, apart


def spend(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def test_blocks_apart_are_left_out_once():
    started, stopwatch = time.perf_counter(), Stopwatch()
    spend(0.01)
    with apart():
        inner = Stopwatch()
        spend(0.02)
        with apart():
            spend(0.03)
        assert 0.02 <= inner.seconds <= time.perf_counter() - started - 0.03
    whole = time.perf_counter() - started
    assert 0.01 <= stopwatch.seconds <= whole - 0.05
