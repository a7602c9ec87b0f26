"""A real server on a port and a cache of its own, and a headless Chromium that forgives no error."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

from backend.study.config import load_study
from tests.tiny import tiny_study

Motion = Literal["reduce", "no-preference"]
ROOT = Path(__file__).parents[2]
PATIENCE = 240_000
"""Milliseconds; only a machine that is busy with other things needs so many."""
MOVING = pytest.mark.parametrize("motion", ["no-preference"])
"""For a test of what moves by itself."""
CALM_SECONDS = 1.2
CALM = """seconds => {
    const busy = document.querySelector('[data-testid=stProgress], [data-testid=stSpinner], [data-testid=stSkeleton]')
        || document.querySelector('.stApp')?.dataset.testScriptState !== 'notRunning'
        || !document.querySelector('.stMain h1');
    const size = document.querySelectorAll('*').length;
    const seen = window.seen ??= {size: 0, since: 0};
    if (busy || size !== seen.size) { seen.size = size; seen.since = performance.now(); }
    return performance.now() - seen.since > 1000 * seconds;
}"""
"""Whether nothing has been under way and nothing has changed for a while."""
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="session")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A studies folder with a tiny study and the demo (another tiny study until its weights are built)."""
    folder = tmp_path_factory.mktemp("studies")
    tiny_study(folder / "tiny", epochs=(1, 2))
    demo = load_study(ROOT / "studies" / "demo")
    if all(ref.path and (Path(ref.path) / "model.safetensors").exists() for ref in demo.refs):
        shutil.copytree(demo.folder, folder / "demo")
    else:
        tiny_study(folder / "demo", epochs=(1, 2))
    return folder


@contextmanager
def serving(studies: Path, cache: Path) -> Iterator[str]:
    """The dashboard as `make run` starts it; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = os.environ | {"LAYERSHIFT_STUDIES": str(studies), "LAYERSHIFT_CACHE": str(cache)}
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        "app.py",
        "--server.port",
        str(port),
        "--server.headless",
        "true",
    ]
    cache.mkdir(parents=True, exist_ok=True)
    log = cache / "server.log"
    with log.open("w") as output:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, server, log)
        yield address
        problems = [line for line in log.read_text().splitlines() if "Traceback" in line or "Error" in line]
        assert problems == [], "\n".join(problems)
    finally:
        server.terminate()
        server.wait(20)


def _wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Until the server answers; asking for its health is no visit."""
    for _ in range(240):
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.25)
    raise AssertionError(f"no server at {address}: {log.read_text()}")


@pytest.fixture(scope="session")
def address(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server for the tests that need no fresh one."""
    with serving(studies, tmp_path_factory.mktemp("cache")) as found:
        yield found


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    """Headless Chromium."""
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield found
        found.close()


def calm(page: Page) -> None:
    """Wait until the page has drawn all that it has to draw."""
    page.wait_for_function(CALM, arg=CALM_SECONDS, timeout=PATIENCE)


class Visitor:
    """A browser context whose console errors and exception boxes are collected and fail the test."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.problems: list[str] = []
        self.page = self._open()

    def _open(self) -> Page:
        page = self.context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("console", self._hear)
        page.on("pageerror", lambda error: self.problems.append(f"page error: {error}"))
        return page

    def _hear(self, message: ConsoleMessage) -> None:
        # Below a deep link Streamlit probes for its own endpoints one level too deep; those 404 are not ours.
        probe = "_stcore" in message.location.get("url", "") and "404" in message.text
        if message.type == "error" and not probe:
            self.problems.append(f"console: {message.text} ({message.location.get('url')})")

    def goto(self, address: str) -> Page:
        """Open an address and wait for its pictures."""
        self.page.goto(address)
        self.settled()
        return self.page

    def picture(self, key: str, title: str) -> None:
        """Wait until the plot of that key shows that title and has been drawn."""
        script = """([key, title]) => {
            const plot = document.querySelector(`.st-key-${key} .js-plotly-plot`);
            const words = plot && plot.querySelector('.gtitle');
            const drawn = plot && plot.querySelector('.scatterlayer path');
            return !!drawn && !!words && words.textContent === title;
        }"""
        self.page.wait_for_function(script, arg=[key, title], timeout=PATIENCE)

    def points(self, epoch: str, reference: str = "base") -> None:
        """Wait until the scrubber rests at that epoch, painted beside that reference."""
        wanted = f'.scrubber[data-painted][data-epoch="{epoch}"][data-reference="{reference}"]'
        self.page.wait_for_selector(wanted, timeout=PATIENCE)

    def settled(self) -> None:
        """Wait until something is drawn and no work is under way."""
        self.page.wait_for_selector(".js-plotly-plot .main-svg")
        self.page.wait_for_function(
            "() => !document.querySelector('[data-testid=stProgress], [data-testid=stSpinner]')", timeout=PATIENCE
        )

    def leave(self) -> None:
        """Close the browser, if it is still open: no exception box was there, and no error in the console."""
        if not self.page.is_closed():
            boxes = self.page.locator("[data-testid=stException]").count()
            self.context.close()
            assert boxes == 0
        assert self.problems == []


@pytest.fixture
def motion() -> Motion:
    """What a visitor asks for: a busy machine paints Streamlit's own animations for a third of its time."""
    return "reduce"


@pytest.fixture
def visit(browser: Browser, motion: Motion) -> Iterator[Callable[[], Visitor]]:
    """A fresh visitor, as often as asked; each must have seen no error when the test ends."""
    visitors: list[Visitor] = []

    def come() -> Visitor:
        context = browser.new_context(viewport={"width": 1280, "height": 1000}, reduced_motion=motion)
        visitors.append(Visitor(context))
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.leave()
