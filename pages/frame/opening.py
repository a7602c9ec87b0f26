"""Prepare the first page while the server starts: the frame, the lab and the study that opens first; then all pages."""

from __future__ import annotations

import atexit
import inspect
import os
import sys
import webbrowser
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from threading import Event, Thread
from typing import Any

from streamlit import config

from pages.frame.links import Page

INTERRUPTED = 130
"""The exit code of a server that was stopped while it worked."""
QUIET_SECONDS = 10.0
"""How long the modules of other pages wait for the first picture, if no browser comes."""
_open, _read, _seen = Event(), Event(), Event()
"""Set when the lab is open, and when the study that opens first has been read (in a plain script from the start), and
when a browser has painted its first picture."""
_open.set()
_read.set()


def lifespan(pages: Iterable[Page]) -> Callable[[Any], Any]:
    """Return what the server does as it starts: prepare the pages in a thread, and open a browser where there is one.

    Streamlit itself opens a browser for plain scripts only.
    """

    @asynccontextmanager
    async def opened(_: Any) -> AsyncIterator[None]:
        _open.clear()
        _read.clear()
        Thread(target=_prepare, args=(pages,), name="opening", daemon=True).start()
        if not config.get_option("server.headless"):
            Thread(target=webbrowser.open, args=(address(),), name="browser", daemon=True).start()
        yield
        atexit.register(_leave)  # registered last, so it runs first

    return opened


def _leave() -> None:
    """End the process at once if a job runs: its thread may be inside torch, where Python's own end aborts."""
    from backend import wiring

    if wiring.jobs.cache_info().currsize and any(job.started is not None for job in wiring.jobs().active()):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(INTERRUPTED)


def wait_for_lab() -> None:
    """Wait until the server has opened the lab, so that there is one."""
    _open.wait()


def wait_for_study() -> None:
    """Wait until the study that opens first has been read, rather than read it twice at once."""
    _read.wait()


def seen() -> None:
    """Tell that a browser has painted its first picture, so that other pages may load their modules."""
    _seen.set()


def address() -> str:
    """Return the address of this server, as a browser on the same machine opens it."""
    named = config.get_option("browser.serverAddress") if config.is_manually_set("browser.serverAddress") else None
    host = named or config.get_option("server.address") or "localhost"
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    if ":" in host:
        host = f"[{host}]"
    scheme = "https" if config.get_option("server.sslCertFile") else "http"
    path = str(config.get_option("server.baseUrlPath") or "").strip("/")
    return f"{scheme}://{host}:{config.get_option('server.port')}/{path}"


def _prepare(pages: Iterable[Page]) -> None:
    """Do what every first page needs; errors are those of the page, which meets them again and shows them.

    Then load the modules of all pages.
    """
    from backend import wiring
    from backend.errors import LayershiftError
    from backend.lab.pinning import pin
    from backend.study.config import Study

    try:
        from pages.frame import shell  # noqa: F401 - every page needs it

        lab = wiring.open_lab()
        wiring.jobs()
        _open.set()
        lab.cache.shipped.get("")  # reads the list of what ships
        studies = wiring.studies()
        study = studies.get(wiring.first_of(studies))
        if isinstance(study, Study) and _is_here(study):
            pin(study, replace(lab, study=study.name))
    except LayershiftError:
        pass
    finally:
        _open.set()
        _read.set()
    inspect.stack()  # Streamlit asks for it once, and the first time it looks at every module
    _seen.wait(QUIET_SECONDS)
    for page in pages:
        page.load()


def _is_here(study: Any) -> bool:
    """Return whether a study needs nothing from the hub, which waits until a page asks for the study."""
    return study.dataset.path is not None and all(ref.path is not None for ref in study.refs)
