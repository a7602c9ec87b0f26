"""A checkpoint that equals its reference is found, and the report says what training taught."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from backend.analyses import merging, weights
from backend.lab.differences import Merging
from backend.lab.outputs import WeightChange
from backend.reports import taught
from backend.study.comparison import Comparison, compared
from tests.fakes import fake_lab
from tests.reports.conftest import case_of, said


def of(change: float) -> weights.Result:
    return weights.tabulate((WeightChange("wte", None, "wte", 0.0, 1.0), WeightChange("0a", 0, "a", change, 1.0)))


def test_equal_weights_are_a_warning() -> None:
    finding = said(taught.unchanged, case_of(), [of(0.0)])
    assert finding is not None and finding.warning and "all 2 matrices are equal" in finding.sentence
    assert said(taught.unchanged, case_of(), [of(0.1)]) is None
    assert said(taught.unchanged, case_of(), [replace(of(0.0), vectors_changed=1)]) is None
    assert said(taught.unchanged, case_of(), [of(float("nan"))]) is None  # it was zero before


def test_the_section_says_what_the_page_says(tmp_path: Path) -> None:
    lab = fake_lab(tmp_path)

    def ask(requests: Any) -> list[Any]:
        return [request(lab) for request in requests]

    (section,) = taught.taught(case_of(reviews=24), ask, 0)
    assert section.title == "What did training teach?" and len(section.parts) == 7


def adapted(**options: Any) -> Comparison:
    """A case whose last checkpoint is an adapter."""
    case = case_of(**options)
    *others, last = case.study.checkpoints
    study = replace(case.study, checkpoints=(*others, replace(last, facts=replace(last.facts, adapter=True))))
    return compared(study, case.reference)


def merged(error: float) -> merging.Result:
    apart, active = np.array([0.0, error], np.float32), np.array([0.0, 0.5], np.float32)
    return merging.judged(Merging(apart, active, 0.0, 1.0, 10.0, 30), "float32")


def test_a_merge_that_changed_the_model_is_a_warning() -> None:
    finding = said(taught.merged_apart, adapted(), [merged(0.25)])
    assert finding is not None and finding.warning
    assert "differs from its unmerged adapter by up to 25 %, beyond the tolerance of 0.1 %" in finding.sentence
    assert finding.keys == {"epoch": "epoch 3", "show": "weights"} and finding.at == 1
    assert said(taught.merged_apart, adapted(), [merged(1e-6)]) is None
    assert said(taught.merged_apart, case_of(), []) is None


def test_the_section_of_an_adapter_says_whether_merged_equals_unmerged(tmp_path: Path) -> None:
    lab = fake_lab(tmp_path)

    def ask(requests: Any) -> list[Any]:
        return [request(lab) for request in requests]

    (section,) = taught.taught(adapted(reviews=24), ask, 0)
    assert len(section.parts) == 9 and any("equals the unmerged adapter" in part for part in section.parts)
    (sentence,) = taught.adapters(adapted(reviews=24).study, lab)
    assert sentence.startswith("Merged onto its base, epoch 3 equals the unmerged adapter")
