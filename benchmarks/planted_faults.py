"""Plant one fault after the other in a copy of the code, and say which test catches it.

    python -m benchmarks.planted_faults [--only KIND] [--tree FOLDER]

Each fault is a replacement in one line, of a kind that leaves a page plausible. Tests of what it concerns run until the
first fails; a fault that none catches ends the run with status 1. `--tree` plants in another checkout, for instance an
older one, where the same lines are in other files.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = (
    "app.py",
    "backend",
    "pages",
    "tests",
    "docs",
    "studies",
    "benchmarks",
    "cache",
    "pyproject.toml",
    ".streamlit",
)
COPIED += ("requirements.txt", "requirements-dev.txt", "README.md", "CHANGELOG.md", "Makefile", "Dockerfile")


@dataclass(frozen=True)
class Fault:
    """A replacement of `line` by `wrong` where a module's name matches `module`; `tests` are names of test files."""

    kind: str
    module: str
    line: str
    wrong: str
    tests: tuple[str, ...]


FAULTS = (
    Fault(
        "a wrong sign: class 0 - 1",
        "metrics",
        "np.array([[-1.0, 1.0]])",
        "np.array([[1.0, -1.0]])",
        ("metrics", "direction"),
    ),
    Fault(
        "a dropped padding mask",
        "forward|residuals",
        "torch.arange(longest) < lengths[:, None]",
        "torch.arange(longest) < longest + 0 * lengths[:, None]",
        ("residuals", "forward", "encoders"),
    ),
    Fault(
        "a stale key: a field is left out of it",
        "serialize|encoding",
        'if item.metadata.get("key", True)]',
        'if item.metadata.get("key", True) and item.name != "drop_largest"]',
        (
            "serialize",
            "encoding",
            "memoize",
            "memo",
            "keys",
            "direction",
            "geometry",
            "similarity",
            "swaps",
            "linear_probes",
        ),
    ),
    Fault(
        "an interval too narrow",
        "intervals",
        "z = scipy.special.ndtri(TAILS[1])",
        "z = 0.8 * scipy.special.ndtri(TAILS[1])",
        ("intervals", "accuracy"),
    ),
    Fault(
        "a missing escape",
        "theme",
        'escape(text, quote=False).split("\\n")',
        'text.split("\\n")',
        ("theme", "markup", "report_markup", "report"),
    ),
    Fault(
        "a layer off by one",
        "hooks|residuals",
        ".blocks[-1].whole.register_forward_hook(leaving).remove)",
        ".blocks[-2].whole.register_forward_hook(leaving).remove)",
        ("residuals", "models", "families"),
    ),
    Fault(
        "chance of one layer, not of the curve",
        "intervals",
        "np.where(median > 0, median, 1.0), 0.0).max(axis=2)",
        "np.where(median > 0, median, 1.0), 0.0).mean(axis=2)",
        ("intervals", "direction"),
    ),
    Fault(
        "copies of a text in training and test folds",
        "splits",
        "splitter = StratifiedKFold if of is None else StratifiedGroupKFold",
        "splitter = StratifiedKFold",
        ("splits", "linear_probes"),
    ),
    Fault(
        "a fraction from the wrong end",
        "metrics",
        "ratio((np.asarray(gap) - host) * np.sign(way)",
        "ratio((np.asarray(donor) - gap) * np.sign(way)",
        ("metrics", "swaps"),
    ),
    Fault(
        "a logit lens without the final norm",
        "logit_lens|lens",
        "x = rows if norm is None else _normed(",
        "x = rows if norm is None or True else _normed(",
        ("logit_lens", "lens", "probes"),
    ),
    Fault(
        "resamples that mix the classes",
        "resampling",
        "members = np.flatnonzero(labels == c)",
        "members = np.arange(len(labels))",
        ("resampling", "intervals"),
    ),
    Fault(
        "a biased similarity",
        "cka|similarity",
        "- 2 / (n - 2) * ends)",
        "- 1 / (n - 2) * ends)",
        ("cka", "similarity"),
    ),
    Fault(
        "a link that forgets a choice",
        "address",
        "return said if said in choice.options else choice.default",
        "return choice.default",
        ("address", "layers"),
    ),
    Fault(
        "a hook left on the model",
        "hooks|one_layer",
        "hook.remove()",
        "hook.id",
        ("residuals", "features", "sae_activations"),
    ),
)


def planted(tree: Path, fault: Fault) -> int:
    """Plant a fault in every module that holds its line; return how many there are."""
    count = 0
    for file in [*tree.glob("backend/**/*.py"), *tree.glob("pages/**/*.py")]:
        text = file.read_text(encoding="utf-8")
        if re.fullmatch(fault.module, file.stem.lstrip("_")) and fault.line in text:
            file.write_text(text.replace(fault.line, fault.wrong), encoding="utf-8")
            count += 1
    return count


def caught(tree: Path, fault: Fault) -> str:
    """Return the first test that fails, or an empty text."""
    files = [file for name in fault.tests for file in sorted(tree.glob(f"tests/**/test_{name}.py"))]
    if "browser" not in fault.kind:
        files = [file for file in files if "browser" not in file.parts]
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=no"]
    run = subprocess.run(
        [*command, *map(str, files)],
        cwd=tree,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"CI": "1"},
    )
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+)", run.stdout, re.M)
    return failed[0] if failed else ""


def main() -> int:
    """Print a row of a table for each fault; 1 if one was not planted or not caught."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tree", type=Path, default=ROOT, help="the checkout to plant in (default: this one)")
    parser.add_argument("--only", default="", help="only faults whose kind contains this")
    given = parser.parse_args()
    missed = 0
    for fault in (fault for fault in FAULTS if given.only in fault.kind):
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder)
            for name in COPIED:
                source = given.tree / name
                if source.is_dir():
                    shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
                elif source.exists():
                    shutil.copy(source, tree / name)
            places = planted(tree, fault)
            test = caught(tree, fault) if places else ""
        missed += not test
        print(f"| {fault.kind} | {f'`{test}`' if test else 'not caught' if places else 'not planted'} |", flush=True)
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
