"""Tell whether files are as they were: their sizes, times and inodes, once nothing has written them for a while."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path

SETTLED_NS = 2_000_000_000
"""A file system's clock is too coarse to separate a second write from the first within this time."""
State = tuple[tuple[str, int, int, int, int], ...]


def settled(files: Iterable[Path]) -> State | None:
    """Return the state of the files; None if one cannot be read or was written within the last two seconds.

    Equal states mean equal content. A copy that keeps size and times (`cp -p`, `rsync -t`) changes the ctime.
    """
    now = time.time_ns()
    found = []
    try:
        for file in files:
            stat = file.stat()
            if not max(stat.st_mtime_ns, stat.st_ctime_ns) < now - SETTLED_NS:
                return None
            found.append((str(file), stat.st_size, stat.st_mtime_ns, stat.st_ino, stat.st_ctime_ns))
    except OSError:
        return None
    return tuple(found)
