"""No exported table has two rows of one key, whatever a study is compared with."""

from __future__ import annotations

import json
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import wraps
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backend.analyses import Analysis, discover
from backend.caching.progress import silent
from backend.reports.export import Viewpoint, export
from tests.fakes import FakeModels, fake_lab, fake_study
from tests.reports.conftest import Still
from tests.reports.tables import read, repeated


def resampled_less(analysis: Analysis) -> Analysis:
    """The analysis with intervals and chance levels of a few draws: its rows have the same keys."""

    @wraps(analysis.queries)
    def queries(*given: Any, **more: Any) -> list[Any]:
        found = analysis.queries(*given, **more)
        most = {"draws": 20, "permutations": 20, "null": 2}
        return [
            replace(one, **{k: min(n, getattr(one, k)) for k, n in most.items() if hasattr(one, k)}) for one in found
        ]

    return replace(analysis, queries=queries)


@pytest.mark.parametrize(
    ("classes", "reference", "family"),
    [(3, "base", "causal"), (2, "epoch 2", "causal"), (3, "epoch 3", "encoder")],
)
def test_no_key_repeats_from_any_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, classes: int, reference: str, family: str
) -> None:
    """With a checkpoint of another seed, and an encoder's base without a head."""
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=Still))
    models = FakeModels(layers=2, width=8)
    study = fake_study(tmp_path, classes=classes, reviews=18, models=models)
    there = list(study.checkpoints)
    there[-1] = replace(there[-1], ref=there[-1].ref.model_copy(update={"seed_of": "epoch 2"}))
    if family == "encoder":
        there = [replace(one, facts=replace(one.facts, kind=family, has_head=one is not study.base)) for one in there]
    study = replace(study, checkpoints=tuple(there))
    out = tmp_path / "out"
    analyses = [resampled_less(one) for one in discover().values()]
    export(study, fake_lab(tmp_path, models), out, analyses, lambda _: nullcontext(silent), Viewpoint(reference))
    keys = json.loads((out / "manifest.json").read_text())["keys"]
    for file in out.glob("*.csv"):
        rows = read(file)
        assert repeated(rows, keys[file.name]) == [], file.name
        assert ("class" in keys[file.name]) == ("class" in rows[0] and "label" not in rows[0]), file.name
