"""Compute what each page of a study shows first, and ship it with the study: `make results`."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from streamlit.testing.v1 import AppTest

from backend import wiring
from backend.caching import shipped
from backend.caching.cache import Cache
from backend.caching.serialize import encode
from backend.study.config import Study
from pages import difference, features, overview
from pages.frame import painted

PAGES = ("overview", "layers", "tokens", "probes", "swaps", "features", "difference", "review")
SLIDING = ("overview", "layers")
PARTS = [
    *(("overview", {"more": part}) for part in overview.MORE),
    *(("features", {"more": part}) for part in features.MORE),
    *(("difference", {"show": part}) for part in difference.SHOWN),
]
"""Views of a page that stand one at a time below its first picture."""
OFFERS = ("Train the autoencoder", "Find the block", "Scale the change", "Measure every block")
"""Buttons of work that a page shows from the start; on a fast machine it starts by itself."""

RESULTS = ("analyses.", "derived.")
"""Prefixes of keys that are shipped only if a page reads them; facts of the checkpoints are read once per process."""

MOST_BYTES = 10_000_000


def visit(page: str, **address: str) -> None:
    """Open a page as a browser does, and wait until its pictures are there. Raises RuntimeError for an error on it."""
    test: Any = AppTest.from_file(str(wiring.ROOT / "app.py"), default_timeout=600)
    for key, value in address.items():
        test.query_params[key] = value
    test.switch_page(f"pages/{page}.py")
    test.run()
    test.session_state[painted.STATE] = True
    test.run()  # what stands further down is drawn once the browser has painted the rest
    while True:
        offered = [button for button in test.button if button.label.startswith(OFFERS)]
        if offered:
            offered[0].click().run()
        elif any(button.label == "Cancel" for button in test.button):
            time.sleep(0.5)
            test.run()
        else:
            break
    errors = [item.value for item in (*test.exception, *test.error)]
    if errors:
        raise RuntimeError(f"{page}: {errors[0]}")


def main(name: str = "demo") -> None:
    """Write the results that the first picture of every page needs beside the study."""
    study = wiring.find_study(name)
    file = study.folder / shipped.FILE
    file.unlink(missing_ok=True)
    results = _results_of_visits(study)
    shipped.ship(results, file)
    needed = _used_by_visits(study)  # without the intermediate results that led to them
    kept = {key: value for key, value in results.items() if key in needed or not key.startswith(RESULTS)}
    size = shipped.ship(kept, file)
    if size > MOST_BYTES:
        raise RuntimeError(f"{file} has {size:,} bytes, more than {MOST_BYTES:,}.")
    sys.stderr.write(f"{file}: {len(kept)} results, {size / 1e6:.1f} MB\n")


def _results_of_visits(study: Study) -> dict[str, bytes]:
    with _empty_cache() as cache:
        _visit_all(study)
        examples = {key: encode(result) for key, result in cache.private()}  # of a text that ships too
        return dict(cache.entries()) | examples


def _used_by_visits(study: Study) -> set[str]:
    with _empty_cache() as cache:
        _visit_all(study)
        return cache.shipped.used


def _visit_all(study: Study) -> None:
    """Visit every page and part at the last checkpoint, and the pages of the slider at every other one."""
    for page in PAGES:
        visit(page, study=study.name)
    for page, part in PARTS:
        visit(page, study=study.name, **part)
    for ref in study.refs:
        for page in SLIDING:
            visit(page, study=study.name, epoch=ref.label)


@contextmanager
def _empty_cache() -> Iterator[Cache]:
    with tempfile.TemporaryDirectory() as place:
        os.environ["LAYERSHIFT_CACHE"] = place
        wiring.open_lab.cache_clear()
        yield wiring.open_lab().cache
        wiring.open_lab.cache_clear()


if __name__ == "__main__":
    main(*sys.argv[1:])
