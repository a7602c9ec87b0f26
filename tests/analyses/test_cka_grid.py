"""Every layer with every layer: each cell is the measure of its two layers, the diagonal that of the curve."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import cka_grid, similarity
from backend.stats import cka, intervals
from tests.analyses.changed_residuals import LABELS, residuals
from tests.fakes import FakeModels, fake_lab, fake_study
from tests.stats.similarity import cka_of


def test_every_cell_is_the_cka_of_its_two_layers(monkeypatch: pytest.MonkeyPatch):
    own, base = residuals()
    monkeypatch.setattr(cka, "PRODUCTS", 7 * len(own) * len(own) // 4)
    reports: list[float] = []
    result = cka_grid.grid(own, base, LABELS, reports.append)
    assert result.cka.value.shape == (4, 4)
    assert np.isnan(result.cka.value[:, 0]).all() and np.isfinite(result.cka.value[:, 1:]).all()
    for layer, other in ((0, 1), (2, 3), (3, 2)):
        x, y = own[:, layer].astype(float), base[:, other].astype(float)
        assert result.cka.value[layer, other] == pytest.approx(cka_of(x, y).estimate)
        low, high = intervals.jackknife(lambda kept, x=x, y=y: np.array(cka_of(x[kept], y[kept]).estimate), LABELS)
        assert (result.cka.low[layer, other], result.cka.high[layer, other]) == pytest.approx(
            (low.item(), min(1, high.item()))
        )
    curve = similarity.similarity(own, base, LABELS, draws=2, permutations=2)
    np.testing.assert_allclose(np.diagonal(result.cka.value), curve.cka.value)
    assert len(reports) == 4 and reports[0] == 0 and reports == sorted(reports) and reports[-1] < 1


def test_a_checkpoint_against_itself_is_symmetric_with_ones_on_the_diagonal():
    own, base = residuals()
    result = cka_grid.grid(own, own, LABELS)
    np.testing.assert_allclose(result.cka.value, result.cka.value.T)
    np.testing.assert_allclose(np.diagonal(result.cka.value), 1)
    swapped = cka_grid.grid(base, own, LABELS)
    np.testing.assert_allclose(swapped.cka.value, cka_grid.grid(own, base, LABELS).cka.value.T)


def test_recipe_rows_and_queries(tmp_path):
    models = FakeModels(layers=3, width=8)
    study = fake_study(models=models, reviews=24)
    queries = cka_grid.queries(study, "epoch 1")
    assert [(query.checkpoint.label, query.reference.label) for query in queries[:2]] == [
        ("base", "epoch 1"),
        ("epoch 1", "epoch 1"),
    ]
    reports: list[float] = []
    lab = fake_lab(tmp_path, models, lambda fraction, _: reports.append(fraction))
    result = cka_grid.recipe(queries[3], lab)
    rows = list(result.rows(queries[3]))
    assert list(rows[0]) == [
        *("checkpoint", "layer", "reference", "reference_layer"),
        *("cka", "cka_low", "cka_high"),
    ]
    assert len(rows) == 16
    assert rows[4 * 2 + 3]["cka"] == result.cka.value[2, 3]
    assert rows[3]["cka"] is None
    assert reports == sorted(reports) and reports[-1] == 1.0
    assert not np.allclose(
        cka_grid.recipe(replace(queries[3], drop_largest=2), lab).cka.value, result.cka.value, equal_nan=True
    )
