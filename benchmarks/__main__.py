"""Run benchmarks one after the other: `python -m benchmarks [NAME ...]`, by default those that end within minutes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

QUICK = ("collect", "interactive", "scrubber")


def main() -> int:
    """Each in a process of its own, so that none inherits the other's memory; the worst exit code."""
    known = sorted(file.stem for file in Path(__file__).parent.glob("[a-z]*.py"))
    wanted = sys.argv[1:] or list(QUICK)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        print(f"There is no benchmark {', '.join(unknown)}; choose from {', '.join(known)}.", file=sys.stderr)
        return 2
    codes = []
    for name in wanted:
        print(f"\n== {name}", flush=True)
        codes.append(subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode)
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
