"""The device is lent to one thread at a time, with or without a job."""

from __future__ import annotations

import threading

from backend.caching.lending import Lendable
from backend.caching.turns import blocked


def test_threads_without_a_ticket_wait_for_no_turn():
    device, taken = Lendable(), threading.Event()
    with blocked(lambda: None), device.held(lambda: None):
        thread = threading.Thread(target=lambda: [taken.set() for _ in [0] if _hold(device)])
        thread.start()
        assert not taken.wait(0.02)
    assert taken.wait(10)
    thread.join()


def _hold(device: Lendable) -> bool:
    with device.held(lambda: None):
        return True
