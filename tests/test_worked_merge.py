"""The worked example of a merge: its commands run, and every number of its tables comes out."""

from __future__ import annotations

import csv
import re
import runpy
import shlex
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backend.__main__ import main
from tests.markdown import sections, table

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/merge.md"
NEAR = {"balanced_accuracy": 0.03, "gap": 0.1, "perplexity": 10, "kl": 0.03}
"""Rounding, and other orders of summation in the training."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def numbers(heading: str, which: int = 0) -> list[list[str]]:
    """The rows of a table below a heading, without the first ones."""
    return table(sections(PAGE)[heading])[which:]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[dict[str, Any]]]:
    """What the last script prints, after the others and the commands ran in an own folder."""
    folder = tmp_path_factory.mktemp("merge")
    (folder / "studies").mkdir()
    (folder / "studies/demo").symlink_to(ROOT / "studies/demo")
    train, scale = blocks("python")
    found: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        patch.chdir(folder)
        patch.setenv("LAYERSHIFT_STUDIES", str(folder / "studies"))
        patch.setenv("LAYERSHIFT_CACHE", str(folder / "cache"))
        Path("adapter.py").write_text(train)
        Path("scale.py").write_text(scale)
        runpy.run_path("adapter.py")
        first, *commands = blocks("sh")[0].splitlines()
        assert first == "python adapter.py"
        for command in commands:
            assert main(shlex.split(command)[3:]) == 0, command
        runpy.run_path("scale.py", {"print": found.append})
        yield found


def rows(name: str) -> list[dict[str, str]]:
    with Path("tables", f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_something_is_there_and_the_merge_is_right(printed: list[dict[str, Any]]):
    merged = rows("merging")
    assert {row["checkpoint"] for row in merged} == {"adapter"} and {row["equal"] for row in merged} == {"True"}
    residual, logit, active, active_logit = (cells[1] for cells in numbers("Is anything there?")[:4])
    assert max(float(row["residual"]) for row in merged) < float(residual.removeprefix("below "))
    assert float(merged[0]["logit"]) < float(logit.removeprefix("below "))
    assert max(float(row["active"]) for row in merged) == pytest.approx(float(active), rel=0.05)
    assert float(merged[0]["active_logit"]) == pytest.approx(float(active_logit), rel=0.05)


@pytest.mark.parametrize(("place", "label"), [(1, "adapter"), (2, "merged")])
def test_only_one_matrix_of_each_block_changed(printed: list[dict[str, Any]], place: int, label: str):
    lowest, highest, others = (float(cells[place]) for cells in numbers("Is anything there?", 4))
    changes = [row for row in rows("weights") if row["checkpoint"] == label]
    changed = [float(row["relative_change"]) for row in changes if row["matrix"] == "attn.c_attn.weight"]
    assert len(changed) == 12
    assert (min(changed), max(changed)) == pytest.approx((lowest, highest), abs=0.003)
    assert {float(row["relative_change"]) for row in changes if row["matrix"] != "attn.c_attn.weight"} == {others}


def test_the_scaling_curve_is_that_of_the_page(printed: list[dict[str, Any]]):
    said = numbers("How much of it?")
    assert len(said) == len(printed) == 5
    for cells, row in zip(said, printed, strict=True):
        assert float(cells[0]) == row["alpha"]
        for name, cell in zip(NEAR, cells[1:], strict=True):
            assert row[name] == pytest.approx(float(cell), abs=NEAR[name]), (cells[0], name)
    base, merge = printed[0], printed[2]
    ends = [f"{row[name]:.2f}" for row in (base, merge) for name in ("balanced_accuracy", "balanced_accuracy_low")]
    assert ends == ["0.61", "0.52", "0.64", "0.56"], "the sentence below the table"
