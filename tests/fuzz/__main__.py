"""Fuzz every reader of input at length: `python -m tests.fuzz --cases 10000 [--only NAME] [--seed 1]`."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

from hypothesis import given, seed, settings

import tests.conftest  # noqa: F401 - sets the folders, and checks shapes and types
from tests.fuzz import addresses
from tests.fuzz.targets import PATIENT, targets, tried


def main() -> int:
    """Run the cases; print a line for each target, and the first case that fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--only", help="the name of one target")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    runs: dict[str, tuple[Any, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, target in targets(Path(folder)).items():
            runs[name] = target.cases, lambda case, target=target: tried(target, case)
        runs["addresses"] = addresses.CASES, lambda case: addresses.run(case) or "opened"
        for name, (cases, run) in runs.items():
            if options.only in (None, name):
                _fuzz(name, cases, run, options)
    return 0


def _fuzz(name: str, cases: Any, run: Any, options: argparse.Namespace) -> None:
    results, started = Counter[str](), time.monotonic()

    @seed(options.seed)
    @settings(max_examples=options.cases, deadline=None, database=None, suppress_health_check=PATIENT)
    @given(cases)
    def fuzz(case: Any) -> None:
        results[run(case)] += 1

    fuzz()
    told = ", ".join(f"{count:,} {what}" for what, count in results.most_common())
    sys.stdout.write(f"{name}: {results.total():,} cases in {time.monotonic() - started:.0f} s: {told}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
