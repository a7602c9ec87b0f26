"""Pairs of texts in three classes through check, everything that export writes, and the report."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from backend import wiring
from backend.__main__ import main
from backend.analyses import discover
from tests.fake_pairs import LABELS, fake_pairs
from tests.fake_texts import WORDS
from tests.fakes import FakeModels, fake_lab
from tests.reports.conftest import Still

LEFT_OUT = {"merging", "ordered", "steered_predictions", "patching", "review", "steered_text", "feature_turnover"}
"""For adapters, for ordered labels, for studies without answers, and those that export never asks."""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    lab, made = fake_lab(tmp_path, FakeModels(layers=2, width=8)), fake_pairs(tmp_path, epochs=1, reviews=18)
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Still))  # the real one compiles for long
    monkeypatch.setattr("backend.__main__.find_study", lambda _: made)
    monkeypatch.setattr("backend.__main__.open_lab", lambda: lab)
    monkeypatch.setattr(wiring, "open_lab", lambda: lab)
    return "pairs"


def test_pairs_of_three_classes_go_through_every_command(
    study: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["check", study]) == 0
    said = capsys.readouterr().out
    for c, (label, word) in enumerate(zip(LABELS, WORDS[:3], strict=True)):
        assert f"class {c}      label {label} -> {word!r}" in said
    assert main(["export", study, "--out", str(tmp_path / "out")]) == 0
    written = {file.stem for file in (tmp_path / "out").glob("*.csv")}
    assert written == set(discover()) - LEFT_OUT
    for file in (tmp_path / "out").glob("*.csv"):
        with file.open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        classes = {row.get("class", "") for row in rows} - {""}
        assert rows and classes <= {"0", "1", "2"} and len(classes) in (0, 3), file.name
    lines = [json.loads(line) for line in (tmp_path / "out/sample.jsonl").read_text().splitlines()]
    assert len(lines) == 18 and [sum(one["label"] == c for one in lines) for c in range(3)] == [6, 6, 6]
    assert main(["report", study, "--out", str(tmp_path / "report.html")]) == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(word in page for word in WORDS[:3]) and "Traceback" not in page
