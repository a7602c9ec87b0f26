"""How good the first estimate of every bar is: opens the demo without its shipped results and visits its long work.

`python -m benchmarks.estimates [--steps FILE]`: prints what each bar said first and how long it took, and the share
within a factor of two; exit code 1 below 90 %. Seconds are said in whole ones, at least 1. `--steps` writes one JSON
line per computation (kind of query, declared seconds, measured seconds), to adjust the declared costs.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backend import wiring
from backend.caching.job import Job
from backend.caching.shipped import FILE

GOAL, FACTOR = 0.9, 2.0
TEXT = "The plot is thin, but I liked the actors and laughed more often than I expected."
VIEWS: tuple[tuple[str, dict[str, str]], ...] = (
    ("overview", {}),
    ("layers", {}),
    ("layers", {"basis": "shared"}),
    ("layers", {"show": "map"}),
    ("layers", {"show": "map", "method": "umap"}),
    ("layers", {"show": "similarity"}),
    ("layers", {"show": "similarity", "similarity": "grid"}),
    ("layers", {"show": "similarity", "similarity": "roles"}),
    ("tokens", {}),
    ("tokens", {"show": "groups"}),
    ("tokens", {"show": "map"}),
    ("tokens", {"show": "output"}),
    ("tokens", {"show": "output", "texts": "sample"}),
    ("probes", {}),
    ("probes", {"show": "linear"}),
    ("probes", {"show": "inherited"}),
    ("probes", {"show": "parts"}),
    ("swaps", {}),
    ("swaps", {"mode": "range"}),
    ("swaps", {"part": "attn"}),
    ("swaps", {"mode": "steering"}),
    ("swaps", {"mode": "steering", "steer": "layers"}),
    ("swaps", {"mode": "steering", "steer": "transfer"}),
    ("swaps", {"mode": "steering", "steer": "ablation"}),
    ("features", {}),
    ("features", {"show": "turnover"}),
    ("review", {"text": TEXT}),
    ("review", {"text": TEXT, "show": "words"}),
    ("review", {"text": TEXT, "show": "patching"}),
    ("review", {"text": TEXT, "show": "steered"}),
    ("difference", {}),
    ("difference", {"show": "predictions"}),
    ("difference", {"show": "price"}),
    ("overview", {"epoch": "epoch 1"}),
    ("layers", {"epoch": "epoch 1"}),
    ("layers", {"epoch": "epoch 1", "show": "map"}),
    ("probes", {"epoch": "epoch 1", "show": "linear"}),
    ("swaps", {"epoch": "epoch 1"}),
    ("features", {"epoch": "epoch 1"}),
)


class Bar:
    """A progress bar: what it said first, and when its jobs ended."""

    def __init__(self, what: str, jobs: Sequence[Job[Any]], said: float, view: str) -> None:
        self.what, self.jobs, self.said, self.view, self.begun = what, jobs, said, view, time.monotonic()

    @property
    def took(self) -> float:
        """Return the seconds from the first sight of the bar to the end of its jobs."""
        return max((job.started or self.begun) + job.elapsed for job in self.jobs) - self.begun

    @property
    def ratio(self) -> float:
        """Return the time it took over the time it said, in whole seconds as they are shown."""
        return max(1.0, self.took) / max(1.0, self.said)

    @property
    def good(self) -> bool:
        """Return whether it ended within the factor."""
        return 1 / FACTOR <= self.ratio <= FACTOR


def watch_bars(bars: list[Bar], view: list[str]) -> None:
    """Record every bar that a page draws for the first time."""
    from pages.frame import work

    draw, seen = work._progress, dict[tuple[str, str], set[str]]()

    def recording(jobs: Sequence[Job[Any]], what: str, beside: Any) -> None:
        known = seen.setdefault((view[-1], what), set())
        keys = {job.key for job in jobs if not job.done}
        if keys - known:  # a bar that goes on with its last jobs is the same bar
            known |= keys
            bars.append(Bar(what, jobs, wiring.jobs().seconds_left(jobs), view[-1]))
        draw(jobs, what, beside)

    work._progress = recording


def record_steps(file: Path) -> None:
    """Write one line per computation to the file."""
    from backend.lab.rates import Rates

    learn = Rates.learn

    def recording(rates: Rates, query: Any, declared: float, seconds: float) -> None:
        kind = f"{type(query).__module__}.{type(query).__qualname__}".removeprefix("backend.")
        with file.open("a") as lines:
            lines.write(json.dumps([kind, declared, seconds]) + "\n")
        learn(rates, query, declared, seconds)

    Rates.learn = recording  # pyright: ignore[reportAttributeAccessIssue] (its first parameter is called self)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and the share."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=Path)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        demo = Path(scratch) / "studies" / "demo"
        shutil.copytree(wiring.ROOT / "studies" / "demo", demo, ignore=shutil.ignore_patterns(FILE))
        os.environ |= {"LAYERSHIFT_STUDIES": str(demo.parent), "LAYERSHIFT_CACHE": f"{scratch}/cache"}
        if options.steps:
            record_steps(options.steps)
        from pages.frame import first_views

        first_views.OFFERS = ("Train",)
        bars: list[Bar] = []
        view: list[str] = []
        watch_bars(bars, view)
        for page, address in VIEWS:
            view.append(" ".join([page, *address.values()]))
            try:
                first_views.visit(page, study="demo", **address)
            except RuntimeError as error:
                print(f"{view[-1]}: {error}", file=sys.stderr)
        print(f"{'view':28} {'bar':44} {'said':>6} {'took':>6} {'ratio':>6}")
        for bar in bars:
            mark = "" if bar.good else "  *"
            print(f"{bar.view[:28]:28} {bar.what[:44]:44} {bar.said:6.1f} {bar.took:6.1f} {bar.ratio:6.2f}{mark}")
        share = sum(bar.good for bar in bars) / max(1, len(bars))
        facts = {key: lines for key, lines in wiring.open_lab().cache.entries() if key.startswith("rate/")}
        if options.steps:
            print("\n".join(f"{key}: {value.decode()}" for key, value in facts.items()), file=sys.stderr)
        machine = wiring.open_lab().cache.get_json("rate/machine")
        print(f"{len(bars)} bars, {100 * share:.0f} % within a factor of {FACTOR:g}; calibration {machine:.2f}")
    return int(share < GOAL)


if __name__ == "__main__":
    sys.exit(main())
