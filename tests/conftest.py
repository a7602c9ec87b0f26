"""Before anything is imported: shapes and types are checked, nothing reaches the network or somebody's real cache."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests import shapes

shapes.check()

SCRATCH = Path(tempfile.mkdtemp(prefix="layershift-tests-"))
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)
BROWSER_IS_REQUIRED = os.environ.get("LAYERSHIFT_REQUIRE_BROWSER") == "1"
BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
"""The shell has no window to draw, so that a page costs it half as much as the others."""
CHROMIUM = next(filter(None, map(shutil.which, BROWSERS)), None)

os.environ.setdefault("OMP_NUM_THREADS", "1")  # several workers share the cores
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # and threads that wait for each other do not spin
TEST_DEVICE = os.environ.get("LAYERSHIFT_TEST_DEVICE", "cpu")
for name in [name for name in os.environ if name.startswith("LAYERSHIFT_") and name != "LAYERSHIFT_REQUIRE_BROWSER"]:
    del os.environ[name]
os.environ |= {
    "LAYERSHIFT_CACHE": str(SCRATCH / "cache"),
    "LAYERSHIFT_STUDIES": str(SCRATCH / "studies"),
    "LAYERSHIFT_DEVICE": TEST_DEVICE,
    "HF_HUB_OFFLINE": "1",
    "HF_HOME": str(SCRATCH / "hub"),
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

settings.register_profile("layershift", deadline=None, derandomize=bool(os.environ.get("CI")), print_blob=True)
settings.load_profile("layershift")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that need a browser, and start their files, the longest, at once."""
    folder = Path(__file__).parent / "browser"
    for item in items:
        if folder in item.path.parents:
            item.add_marker(pytest.mark.browser)
    items.sort(key=lambda item: folder not in item.path.parents)


def pytest_collection_finish() -> None:
    """Exempt everything imported from garbage collection: models are given back hundreds of times, at 0.2 s each."""
    gc.collect()
    gc.freeze()


@cache
def no_browser() -> str | None:
    """Why no browser can be driven; None if one can."""
    from playwright._impl._driver import compute_driver_executable

    if CHROMIUM is None:
        return "Chromium is not installed"
    node = subprocess.run([compute_driver_executable()[0], "--version"], capture_output=True, text=True, check=False)
    return f"Playwright's driver does not start: {node.stderr.strip()}" if node.returncode else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Without a browser its tests are skipped, or fail where it is required."""
    if item.get_closest_marker("browser"):
        _require_browser()


def _require_browser() -> None:
    if why := no_browser():
        (pytest.fail if BROWSER_IS_REQUIRED else pytest.skip)(why)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of the Chromium that browser tests drive."""
    _require_browser()
    assert CHROMIUM is not None
    return CHROMIUM


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """Connections that leave this machine fail as they do without a network."""

    def guarded(connect: Callable[..., Any]) -> Callable[..., Any]:
        def attempt(self: socket.socket, address: Any) -> Any:
            if self.family in (socket.AF_INET, socket.AF_INET6):
                host = str(address[0])
                if not host.startswith("127.") and host not in ("::1", "localhost"):
                    raise OSError(f"the tests have no network, and something wants to reach {host}")
            return connect(self, address)

        return attempt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded(socket.socket.connect))
        patch.setattr(socket.socket, "connect_ex", guarded(socket.socket.connect_ex))
        yield


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with studies/tiny, where the command line looks for studies, and a cache of its own."""
    from backend import wiring
    from tests.tiny import tiny_study  # imports torch

    monkeypatch.setenv("LAYERSHIFT_STUDIES", str(tmp_path / "studies"))
    monkeypatch.setenv("LAYERSHIFT_CACHE", str(tmp_path / "cache"))
    wiring.open_lab.cache_clear()
    tiny_study(tmp_path / "studies" / "tiny", epochs=(1, 2))
    yield tmp_path
    wiring.open_lab.cache_clear()
