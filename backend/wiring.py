"""Composition root: connects folders, cache, models, jobs and studies, and reads the environment variables."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection
from functools import cache
from pathlib import Path

from backend.caching import cores
from backend.caching.cache import Cache
from backend.caching.jobs import Jobs
from backend.caching.limits import Limits
from backend.caching.shipped import FILE, Shipped
from backend.errors import CacheError, StudyError
from backend.lab.cluster import Cluster
from backend.lab.lab import Lab
from backend.models.local import LocalModels
from backend.study.config import STUDY_FILE, Study, find_studies, load_study
from backend.training.local_autoencoders import LocalAutoencoders

ROOT = Path(__file__).parents[1]
WORKERS = 2
"""Jobs that run at once; typed text has one more worker."""
PASSED_ON = ("HF_HOME", "HF_HUB_OFFLINE", "LAYERSHIFT_CACHE_BYTES", "LAYERSHIFT_DEVICE")
PASSED_ON += ("LAYERSHIFT_DTYPE", "LAYERSHIFT_MODEL_BYTES", "LAYERSHIFT_WORKER_CACHE")
"""Environment variables that the workers of a cluster get too."""


def cache_folder() -> Path:
    """Return the cache folder: LAYERSHIFT_CACHE, or cache/ next to app.py."""
    return Path(os.environ.get("LAYERSHIFT_CACHE") or ROOT / "cache").expanduser().resolve()


def studies_folder() -> Path:
    """Return the folder of the studies: LAYERSHIFT_STUDIES, or studies/ next to app.py."""
    return Path(os.environ.get("LAYERSHIFT_STUDIES") or ROOT / "studies").expanduser().resolve()


def open_folders() -> tuple[Path, ...]:
    """Return the folders that forms may name: the studies folder, and those in LAYERSHIFT_PATHS."""
    named = filter(None, os.environ.get("LAYERSHIFT_PATHS", "").split(os.pathsep))
    return (studies_folder(), *(Path(folder).expanduser().resolve() for folder in named))


def cache_bytes() -> int | None:
    """Return LAYERSHIFT_CACHE_BYTES, or None for the default limit. Raises CacheError unless it is above 0."""
    return _number("LAYERSHIFT_CACHE_BYTES", " of bytes")


def _number(variable: str, unit: str = "") -> int | None:
    """Return the whole number in a variable, None if it is unset. Raises CacheError unless it is above 0."""
    text = os.environ.get(variable, "")
    if not text:
        return None
    if not (text.isascii() and text.isdigit()) or int(text) == 0:
        raise CacheError(f'{variable} is "{text}"; give a whole number{unit}.')
    return int(text)


@cache
def open_lab() -> Lab:
    """Return the lab of this process: one cache, one store of models, and the autoencoders on them.

    Results that a study ships are read where the cache has none. With LAYERSHIFT_RAY, a cluster computes the others.
    """
    cores.wait_asleep()
    store = Cache(cache_folder(), cache_bytes(), Shipped(sorted(studies_folder().glob(f"*/{FILE}"))))
    models = LocalModels(store)
    return Lab(cache=store, models=models, autoencoders=LocalAutoencoders(models), machines=cluster())


@cache
def cluster() -> Cluster | None:
    """Return the Ray cluster at LAYERSHIFT_RAY, None if that is not set. Raises ClusterError."""
    address = os.environ.get("LAYERSHIFT_RAY")
    if not address:
        return None
    settings = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    return Cluster(address, ROOT / "backend", worker_lab, settings)


@cache
def worker_lab() -> Lab:
    """Return the lab of a worker of a cluster; all workers of a machine share a cache in the user's own folder."""
    folder = os.environ.get("LAYERSHIFT_WORKER_CACHE") or "~/.cache/layershift/worker"
    store = Cache(Path(folder).expanduser(), cache_bytes())
    models = LocalModels(store)
    return Lab(cache=store, models=models, autoencoders=LocalAutoencoders(models))


@cache
def jobs() -> Jobs:
    """Return the background jobs of this process, shared by all browser sessions: as many at once as a cluster runs."""
    machines = cluster()
    if machines is None:
        cores.share(WORKERS)
    write_log()
    usual = Limits()
    return Jobs(
        WORKERS if machines is None else max(WORKERS, machines.slots),
        Limits(
            queue=_number("LAYERSHIFT_QUEUE") or usual.queue,
            rate=_number("LAYERSHIFT_RATE") or usual.rate,
            seconds=_number("LAYERSHIFT_JOB_SECONDS") or usual.seconds,
        ),
    )


def write_log() -> None:
    """Write what the backend logs, such as a line for every job, to standard error."""
    backend = logging.getLogger("backend")
    if not backend.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        backend.addHandler(handler)
        backend.setLevel(logging.INFO)
        backend.propagate = False


def studies() -> dict[str, Study | StudyError]:
    """Return every study in the studies folder by name, or the error if it cannot be read."""
    return find_studies(studies_folder())


def first_of(names: Collection[str]) -> str:
    """Return the study that the dashboard opens first: the demo, else the first; "" if there is none."""
    return "demo" if "demo" in names else next(iter(names), "")


def find_study(name_or_path: str) -> Study:
    """Load a study by its name, or by the path of its folder or study.toml. Raises StudyError."""
    by_name = studies_folder() / name_or_path
    by_path = Path(name_or_path).expanduser()
    if by_path.name == STUDY_FILE:
        by_path = by_path.parent
    for folder in (by_name, by_path):
        if (folder / STUDY_FILE).is_file():
            return load_study(folder)
    known = ", ".join(studies()) or "none"
    raise StudyError(
        f'There is no study "{name_or_path}" in {studies_folder()}, and no such folder with a {STUDY_FILE}. '
        f"Choose from: {known}."
    )
