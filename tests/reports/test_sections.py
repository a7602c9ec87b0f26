"""Sections of the report alone: what they draw for studies of other kinds."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from backend.reports.sections import SECTIONS
from backend.study.comparison import compared
from backend.study.kinds import Kind
from tests.fakes import fake_lab, fake_study
from tests.reports.conftest import Still
from tests.reports.outline import Outline


def test_an_ordered_label_has_its_own_section(tmp_path: Path) -> None:
    study = fake_study(kind="ordered", reviews=40, epochs=1)
    lab = fake_lab(tmp_path)
    (section,) = SECTIONS["ordered"](
        compared(study, study.base), lambda requests: [request(lab) for request in requests], 0
    )
    assert section.title == "How well does each layer hold the order of the label?" and len(section.parts) == 4
    classes = fake_study(epochs=1, reviews=40)
    assert not [*SECTIONS["ordered"](compared(classes, classes.base), lambda _: [], 0)]


def test_maps_of_an_ordered_label_are_coloured_by_its_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Still))
    study, lab = fake_study(kind="ordered", reviews=40, epochs=1), fake_lab(tmp_path)
    (section,) = SECTIONS["map"](
        compared(study, study.base), lambda requests: [request(lab) for request in requests], 2
    )
    assert sum('"colorbar"' in part for part in section.parts) == 2, "t-SNE and UMAP"


@pytest.mark.parametrize(("kind", "pictures"), [("answers", 2), ("contrast", 1), ("texts", 1)])
def test_accuracy_by_length_is_drawn_only_where_models_answer(tmp_path: Path, kind: Kind, pictures: int) -> None:
    study, lab = fake_study(kind=kind, reviews=24, epochs=1), fake_lab(tmp_path)
    case = compared(study, study.base)
    (section,) = SECTIONS["sample"](case, lambda requests: [request(lab) for request in requests], 0)
    text = "".join(section.parts)
    assert len(Outline(text).figures) == pictures and ("Accuracy by prompt length" in text) == (kind == "answers")
