"""Cores are shared: products of matrices get some threads, and threads that wait sleep."""

from __future__ import annotations

import os

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from backend.caching import cores


def test_threads_sleep_unless_the_user_decided(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    cores.wait_asleep()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    cores.wait_asleep()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"


def test_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    np.dot(np.zeros((2, 2)), np.zeros((2, 2)))
    with threadpool_limits():  # restores the limits
        cores.share(4)
        assert {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"} <= {1, 2}
