"""Share the processor between jobs that run at once."""

from __future__ import annotations

import os

import numpy as np
from threadpoolctl import threadpool_limits


def share(workers: int) -> None:
    """Give numpy's matrix products so many threads that `workers` of them at once fill the processor.

    With a thread per core in each, they wait for each other: on two busy cores a bootstrap of directions took ten times
    as long. Models have their own threads, and one of them runs at a time.
    """
    np.dot(np.zeros((2, 2)), np.zeros((2, 2)))  # loads the library
    threadpool_limits(max(1, (os.cpu_count() or 1) // workers), user_api="blas")


def wait_asleep() -> None:
    """Have the threads of a model sleep while they wait for each other; call it before torch is imported.

    By default they spin, which takes the cores from other jobs and programs: with both cores of a machine busy, reading
    the demo's reviews took 8 to 19 s, and asleep it takes 2 s.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
