"""A fresh clone shows the first picture of every page of the demo from the results that ship with it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from backend.caching.shipped import FILE, stale
from tests.pages.conftest import ROOT

FRESH = """
import sys
from backend import wiring
from backend.caching.shipped import KINDS
from pages.frame.first_views import PAGES, visit
for page in PAGES:
    visit(page)
computed = [key for key, _ in wiring.open_lab().cache.entries() if key.startswith(KINDS)]
print("RESULT", len(computed), "torch" in sys.modules, len(wiring.open_lab().cache.shipped.used))
"""


def test_the_shipped_results_are_those_of_this_code():
    assert stale(ROOT / "studies" / "demo" / FILE) == [], "run `make results` after a change of what computes results"


def test_no_first_picture_needs_a_model(tmp_path: Path):
    places = {"LAYERSHIFT_STUDIES": str(ROOT / "studies"), "LAYERSHIFT_CACHE": str(tmp_path)}
    environment = {**os.environ, **places}
    run = subprocess.run(
        [sys.executable, "-c", FRESH],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    computed, torch, used = run.stdout.rsplit("RESULT", 1)[1].split()
    assert (computed, torch) == ("0", "False")
    assert int(used) > 40
