"""Distances by layer: the measures of each layer, chance, more reviews than are compared, recipe and rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import geometry
from backend.stats import intervals
from backend.stats import rsa as measures
from tests.analyses.changed_residuals import LABELS, residuals
from tests.fakes import FakeModels, fake_lab, fake_study
from tests.stats.similarity import spearman


def test_every_layer_has_the_measures_of_its_reviews():
    own, base = residuals()
    result = geometry.geometry(own, base, LABELS, permutations=20)
    at_0 = result.rank_correlation[0]
    assert np.isnan(at_0.ends).all() and np.isnan([result.gromov_wasserstein[0], result.unmatched[0]]).all()
    assert at_0.chance is not None and np.isnan(at_0.chance)
    for layer in (1, 2, 3):
        x, y = own[:, layer].astype(float), base[:, layer].astype(float)
        assert result.rank_correlation.value[layer] == pytest.approx(spearman(x, y))
        low, high = intervals.jackknife(lambda kept, x=x, y=y: np.array(spearman(x[kept], y[kept])), LABELS)
        limits = result.rank_correlation.low[layer], result.rank_correlation.high[layer]
        assert limits == pytest.approx((low.item(), min(1, high.item())))
        expected = measures.gromov_wasserstein(measures.distances(x), measures.distances(y))
        assert (result.gromov_wasserstein[layer], result.unmatched[layer]) == pytest.approx(expected)
    value, level = result.rank_correlation.value, result.rank_correlation.chance
    assert level is not None and value[1] > level[1] > 0
    assert result.gromov_wasserstein[1] < result.unmatched[1]


def test_the_same_model_keeps_every_distance():
    _, base = residuals()
    result = geometry.geometry(base, base, LABELS, permutations=5)
    np.testing.assert_allclose(result.rank_correlation.value[1:], 1)
    np.testing.assert_allclose(result.gromov_wasserstein[1:], 0, atol=1e-9)


def test_recipe_rows_and_queries(tmp_path):
    models = FakeModels(layers=2, width=8)
    study = fake_study(models=models, reviews=24)
    reports: list[float] = []
    lab = fake_lab(tmp_path, models, lambda fraction, _: reports.append(fraction))
    queries = geometry.queries(study)
    assert [query.checkpoint.label for query in queries] == ["epoch 1", "epoch 2", "epoch 3"]
    query = replace(queries[1], permutations=5)
    result = geometry.recipe(query, lab)
    assert reports == sorted(reports) and reports[-1] == 1.0
    rows = list(result.rows(query))
    assert list(rows[0]) == [
        *("checkpoint", "reference", "layer"),
        *(f"rank_correlation{end}" for end in ("", "_low", "_high", "_chance")),
        *("gromov_wasserstein", "unmatched"),
    ]
    assert rows[0]["unmatched"] is None
    assert rows[2]["unmatched"] == result.unmatched[2]
    fewer = geometry.recipe(replace(query, most=10, seed=3), lab)
    drawn = np.sort(np.random.default_rng(3).permutation(24)[:10])
    x, y = (lab.readout(checkpoint, study.prompts).residuals[drawn, 2] for checkpoint in (query.checkpoint, study.base))
    assert fewer.rank_correlation.value[2] == pytest.approx(spearman(x, y), rel=1e-6)
