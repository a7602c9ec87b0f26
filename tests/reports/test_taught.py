"""A checkpoint that equals its reference is found, and the report says what training taught."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from backend.analyses import weights
from backend.lab.outputs import WeightChange
from backend.reports import taught
from tests.fakes import fake_lab
from tests.reports.conftest import case_of, said


def of(change: float) -> weights.Result:
    return weights.tabulate((WeightChange("wte", None, "wte", 0.0, 1.0), WeightChange("0a", 0, "a", change, 1.0)))


def test_equal_weights_are_a_warning() -> None:
    finding = said(taught.unchanged, case_of(), [of(0.0)])
    assert finding is not None and finding.warning and "all 2 matrices are equal" in finding.sentence
    assert said(taught.unchanged, case_of(), [of(0.1)]) is None


def test_the_section_says_what_the_page_says(tmp_path: Path) -> None:
    lab = fake_lab(tmp_path)

    def ask(requests: Any) -> list[Any]:
        return [request(lab) for request in requests]

    (section,) = taught.taught(case_of(reviews=24), ask, 0)
    assert section.title == "What did training teach?" and len(section.parts) == 7
