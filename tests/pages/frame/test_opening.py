"""A server prepares the first page as it starts: pages, lab and the first study; without torch."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from threading import Event
from threading import enumerate as enumerate_threads
from typing import Any

import pytest
from streamlit import config
from streamlit.web.server.app_discovery import discover_asgi_app

from backend.errors import StudyError
from pages.frame import opening
from pages.frame.links import Page
from tests.pages.conftest import ROOT, World

PREPARED = """
import sys
import app
from pages.frame import opening
opening.seen()
opening._prepare(app.PAGES.values())
from backend import wiring
from backend.lab import pinning
print("RESULT", "pages.review" in sys.modules, wiring.open_lab.cache_info().currsize, len(pinning._ASKINGS),
      "torch" in sys.modules)
"""


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Addresses that a browser was sent to."""
    sent: list[str] = []
    monkeypatch.setattr("webbrowser.open", sent.append)
    return sent


def start(inside: Any, pages: tuple[Page, ...] = ()) -> None:
    """A server that starts, and does something before it stops."""

    async def run() -> None:
        async with opening.lifespan(pages)(None):
            await asyncio.to_thread(inside)

    with ThreadPoolExecutor(1) as apart:  # this thread has a running loop once a browser was driven in it
        apart.submit(asyncio.run, run()).result()


def ready() -> None:
    opening.wait_for_lab()
    opening.wait_for_study()


def sent(opened: list[str]) -> None:
    end = time.monotonic() + 10
    while not opened and time.monotonic() < end:
        time.sleep(0.01)


def test_streamlit_runs_the_file_as_an_application():
    """Only then it calls the lifespan."""
    assert discover_asgi_app(ROOT / "app.py").import_string == "app:app"


def test_the_demo_is_read_before_anybody_asks_and_without_torch(tmp_path: Path):
    environment = os.environ | {"LAYERSHIFT_STUDIES": str(ROOT / "studies"), "LAYERSHIFT_CACHE": str(tmp_path)}
    run = subprocess.run(
        [sys.executable, "-c", PREPARED],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.rsplit("RESULT", 1)[1].split() == ["True", "1", "1", "False"]


def test_pages_wait_for_the_lab_while_it_opens(world: World, opened: list[str], monkeypatch: pytest.MonkeyPatch):
    loads, go, lab = Event(), Event(), world.lab

    def load() -> Any:
        loads.set()
        assert go.wait(10)
        return lab

    monkeypatch.setattr("backend.wiring.open_lab", load)

    def inside() -> None:
        assert loads.wait(10)
        assert not opening._open.is_set()
        go.set()
        ready()

    start(inside)


def test_modules_of_other_pages_wait_for_the_first_picture(
    world: World, opened: list[str], monkeypatch: pytest.MonkeyPatch
):
    loaded, done = list[str](), Event()
    monkeypatch.setattr(opening, "_seen", Event())
    monkeypatch.setattr(Page, "load", lambda page: (loaded.append(page.name), done.set()))

    def inside() -> None:
        ready()
        assert not done.wait(0.3)
        opening.seen()
        assert done.wait(10)

    start(inside, (Page("layers", "Layers"),))
    assert loaded == ["layers"]


@pytest.mark.parametrize("broken", ["a study that cannot be read", "a page that cannot be imported"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_nobody_waits_for_ever_after_an_error(
    broken: str, world: World, opened: list[str], monkeypatch: pytest.MonkeyPatch
):
    if "imported" in broken:
        monkeypatch.setattr("backend.wiring.open_lab", lambda: import_module("pages.missing"))
    world.studies["film"] = StudyError(broken)
    start(ready)
    for thread in enumerate_threads():
        if thread.name == "opening":
            thread.join(10)  # its error belongs to this test


def test_a_study_on_the_hub_is_not_read_unasked(world: World, opened: list[str], monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []
    monkeypatch.setattr("backend.lab.pinning.pin", lambda study, lab: read.append(study.name))
    start(ready)
    film: Any = world.studies["film"]
    there = film.model_copy(update={"base": film.base.model_copy(update={"path": None, "repo": "a/b"})})
    world.studies = {"film": there}
    start(ready)
    assert read == ["film"]
    assert not opening._is_here(there)


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ({"server.address": "127.0.0.1", "server.port": 8501}, "http://127.0.0.1:8501/"),
        ({"server.address": "0.0.0.0", "server.port": 80}, "http://localhost:80/"),
        ({"server.address": "::1", "server.port": 80}, "http://[::1]:80/"),
        ({"server.address": None, "server.port": 9, "server.baseUrlPath": "/a/"}, "http://localhost:9/a"),
        ({"server.address": "127.0.0.1", "server.port": 9, "server.sslCertFile": "x"}, "https://127.0.0.1:9/"),
    ],
)
def test_a_browser_opens_where_the_machine_has_one(
    options: dict[str, Any], address: str, world: World, opened: list[str], monkeypatch: pytest.MonkeyPatch
):
    known = config.get_option
    monkeypatch.setattr(config, "get_option", lambda name: ({"server.headless": False} | options).get(name, None))
    start(lambda: sent(opened))
    assert opened == [address]
    monkeypatch.setattr(config, "get_option", lambda name: True if name == "server.headless" else known(name))
    start(ready)
    assert len(opened) == 1


LEAVING = """
from backend import wiring
from pages.frame import opening
opening._leave()
wiring.jobs()
opening._leave()
print("an idle server ends as usual")
class Busy:
    started = 1.0
wiring.jobs().active = lambda: [Busy()]
opening._leave()
print("not reached")
"""


def test_a_server_that_works_ends_at_once_when_it_is_interrupted(tmp_path: Path):
    environment = os.environ | {"LAYERSHIFT_CACHE": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", LEAVING], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (130, "an idle server ends as usual\n"), done.stderr
