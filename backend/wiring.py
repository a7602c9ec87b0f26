"""The one module that knows every implementation: folders, cache, models, jobs, studies."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from backend.caching.cache import Cache
from backend.caching.jobs import Jobs
from backend.errors import CacheError, StudyError
from backend.lab.lab import Lab
from backend.models.local import LocalModels
from backend.study.config import STUDY_FILE, Study, find_studies, load_study
from backend.training.local_autoencoders import LocalAutoencoders

ROOT = Path(__file__).parents[1]


def cache_folder() -> Path:
    """LAYERSHIFT_CACHE, or cache/ beside app.py."""
    return Path(os.environ.get("LAYERSHIFT_CACHE") or ROOT / "cache").expanduser().resolve()


def studies_folder() -> Path:
    """LAYERSHIFT_STUDIES, or studies/ beside app.py."""
    return Path(os.environ.get("LAYERSHIFT_STUDIES") or ROOT / "studies").expanduser().resolve()


def cache_bytes() -> int | None:
    """LAYERSHIFT_CACHE_BYTES, or None for the cache's own limit. Raises CacheError when it is no number above 0."""
    text = os.environ.get("LAYERSHIFT_CACHE_BYTES", "")
    if not text:
        return None
    if not text.isdigit() or int(text) == 0:
        raise CacheError(f'LAYERSHIFT_CACHE_BYTES is "{text}"; give a whole number of bytes.')
    return int(text)


@cache
def open_lab() -> Lab:
    """The lab of this process: one cache, one store of models, autoencoders on those."""
    store = Cache(cache_folder(), cache_bytes())
    models = LocalModels(store)
    return Lab(cache=store, models=models, autoencoders=LocalAutoencoders(models))


@cache
def jobs() -> Jobs:
    """The background work of this process, shared by all browser sessions."""
    return Jobs()


def studies() -> dict[str, Study | StudyError]:
    """Every study in the studies folder, by name; one that cannot be read is its error."""
    return find_studies(studies_folder())


def find_study(name_or_path: str) -> Study:
    """A study by its name in the studies folder, or by the path of its folder or study.toml. Raises StudyError."""
    named = studies_folder() / name_or_path
    given = Path(name_or_path).expanduser()
    if given.name == STUDY_FILE:
        given = given.parent
    for folder in (named, given):
        if (folder / STUDY_FILE).is_file():
            return load_study(folder)
    known = ", ".join(studies()) or "none"
    raise StudyError(
        f'There is no study "{name_or_path}": neither in {studies_folder()} (studies there: {known}) nor as a folder '
        f"with a {STUDY_FILE}."
    )
