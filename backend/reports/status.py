"""What the server does and holds at this moment, for the status page."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.caching.job import Job
from backend.caching.jobs import Jobs
from backend.lab.lab import Lab

SHARED = "(shared)"


@dataclass(frozen=True)
class Status:
    """Tables as rows of columns, and numbers with their unit, of one moment.

    `found` and `computed` count results since the server started. `memory` is the resident memory of the process,
    None where the system does not tell.
    """

    jobs: tuple[dict[str, Any], ...]
    running: int
    queued: int
    found: int
    computed: int
    memory: str | None
    models: tuple[dict[str, str], ...]
    cache: tuple[dict[str, Any], ...]
    on_disk: str
    free: str | None
    note: str | None


def status(lab: Lab, jobs: Jobs) -> Status:
    """Return the status of the server."""
    active, kept = jobs.active(), lab.cache.usage()
    return Status(
        jobs=tuple(map(_job, active)),
        running=sum(not job.waits for job in active),
        queued=sum(job.waits for job in active),
        found=lab.cache.tally.hits,
        computed=lab.cache.tally.misses,
        memory=_resident(),
        models=tuple({"model": place, "memory": size(held)} for place, held in lab.models.loaded()),
        cache=tuple({"study": one.study or SHARED, "entries": one.entries, "size": size(one.size)} for one in kept),
        on_disk=f"{size(sum(one.size for one in kept))} of {size(lab.cache.limit_bytes)}",
        free=_free(lab.cache.folder),
        note=lab.cache.note,
    )


def _job(job: Job[Any]) -> dict[str, Any]:
    state = "queued" if job.started is None else "waiting" if job.waits else "running"
    return {
        "job": job.title,
        "state": state,
        "done": f"{job.fraction:.0%}",
        "step": job.sentence,
        "seconds": round(job.elapsed),
        "seconds left": round(job.left),
    }


def size(count: float | int) -> str:
    """Format bytes for people, in powers of 1000."""
    units: Sequence[str] = ("B", "kB", "MB", "GB")
    for unit in units:
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def _resident() -> str | None:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return size(pages * os.sysconf("SC_PAGE_SIZE"))


def _free(folder: Path) -> str | None:
    try:
        return size(shutil.disk_usage(folder).free)
    except OSError:
        return None
