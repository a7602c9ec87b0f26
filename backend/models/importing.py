"""Import torch and transformers in one thread at a time.

transformers imports its parts on first use, and these import each other. Python breaks the circle of two threads that
import at once by handing one of them a module that is not complete, and that thread fails with an ImportError.
Python 3.11.7 also fails where two threads make syntax trees at once (SystemError: recursion depth mismatch).
"""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager
from functools import cache
from importlib import metadata

_LOCK = threading.RLock()


def importing() -> AbstractContextManager[object]:
    """Hold the lock while importing torch or transformers, or calling what imports parts of them on first use."""
    return _LOCK


@cache  # pages ask for every checkpoint at every rerun
def version(library: str) -> str:
    """Return the version of an installed library."""
    return metadata.version(library)
