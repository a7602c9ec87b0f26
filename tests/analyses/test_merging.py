"""Merging: who is asked, what counts as equal, rows as the documentation has them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from backend.analyses import merging
from backend.lab.differences import Merging
from backend.study.pinned import PinnedStudy
from tests.fakes import fake_lab, fake_study

NAN = float("nan")


def adapted() -> PinnedStudy:
    """A study whose last two checkpoints are adapters."""
    study = fake_study()
    last = [replace(one, facts=replace(one.facts, adapter=True)) for one in study.checkpoints[2:]]
    return replace(study, checkpoints=(*study.checkpoints[:2], *last))


def found(residual: float, logit: float = 0.0, active: float = 0.3, largest: float = 10.0) -> Merging:
    moved = np.array([0.0, active], np.float32)
    return Merging(np.array([0.0, residual], np.float32), moved, logit, 5 * active, largest, 9)


def test_only_adapters_are_asked() -> None:
    assert merging.queries(fake_study()) == []
    assert [query.checkpoint.label for query in merging.queries(adapted(), "epoch 1")] == ["epoch 2", "epoch 3"]
    with pytest.raises(KeyError):
        merging.queries(adapted(), "epoch 9")


def test_a_residual_or_a_logit_beyond_the_tolerance_makes_a_difference() -> None:
    assert merging.judged(found(2e-4, 5e-3), "float32").equal
    assert not merging.judged(found(2e-3), "float32").equal
    assert not merging.judged(found(0.0, 0.02), "float32").equal, "0.002 of the largest logit"
    assert merging.judged(found(2e-3, 0.02), "bfloat16").equal
    assert merging.judged(found(2e-4, NAN), "float32").equal, "without a head residuals decide"
    assert merging.judged(found(0.0, 0.02), "float32").worst == pytest.approx(0.002)


def test_an_adapter_without_effect_is_inactive() -> None:
    assert merging.judged(found(0.0), "float32").acts
    assert not merging.judged(found(0.0, active=0.0), "float32").acts


def test_the_recipe_has_a_row_per_layer(tmp_path: Path) -> None:
    (query, _), lab = merging.queries(adapted()), fake_lab(tmp_path)
    result = merging.recipe(query, lab)
    rows = list(result.rows(query))
    assert [row["layer"] for row in rows] == list(range(len(result.residual)))
    assert rows[-1]["checkpoint"] == "epoch 2" and rows[-1]["equal"] is True
    assert rows[-1]["residual"] == pytest.approx(2e-7) and rows[-1]["tolerance"] == 1e-3
    assert query.cost.passes[0][1] == 3 * int(query.prompts.lengths[:4].sum())
