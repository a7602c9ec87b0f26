"""Distances by layer: the measures of each layer, chance, more reviews than are compared, recipe and rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import geometry
from backend.stats import intervals
from backend.stats import rsa as measures
from tests.analyses.test_similarity import LABELS, residuals
from tests.fakes import FakeModels, fake_lab, fake_study
from tests.stats.test_rsa import spearman


def test_every_layer_has_the_measures_of_its_reviews():
    own, base = residuals()
    found = geometry.geometry(own, base, LABELS, permutations=20)
    at_0 = found.rank_correlation[0]
    assert np.isnan(at_0.ends).all() and np.isnan([found.gromov_wasserstein[0], found.unmatched[0]]).all()
    assert at_0.chance is not None and np.isnan(at_0.chance)
    for layer in (1, 2, 3):
        x, y = own[:, layer].astype(float), base[:, layer].astype(float)
        assert found.rank_correlation.value[layer] == pytest.approx(spearman(x, y))
        low, high = intervals.jackknife(lambda kept, x=x, y=y: np.array(spearman(x[kept], y[kept])), LABELS)
        limits = found.rank_correlation.low[layer], found.rank_correlation.high[layer]
        assert limits == pytest.approx((low.item(), min(1, high.item())))
        expected = measures.gromov_wasserstein(measures.distances(x), measures.distances(y))
        assert (found.gromov_wasserstein[layer], found.unmatched[layer]) == pytest.approx(expected)
    value, level = found.rank_correlation.value, found.rank_correlation.chance
    assert level is not None and value[1] > level[1] > 0
    assert found.gromov_wasserstein[1] < found.unmatched[1]


def test_the_same_model_keeps_every_distance():
    _, base = residuals()
    found = geometry.geometry(base, base, LABELS, permutations=5)
    np.testing.assert_allclose(found.rank_correlation.value[1:], 1)
    np.testing.assert_allclose(found.gromov_wasserstein[1:], 0, atol=1e-9)


def test_recipe_rows_and_queries(tmp_path):
    models = FakeModels(layers=2, width=8)
    study = fake_study(models=models, reviews=24)
    heard: list[float] = []
    lab = fake_lab(tmp_path, models, lambda fraction, _: heard.append(fraction))
    asked = geometry.queries(study)
    assert [query.checkpoint.label for query in asked] == ["epoch 1", "epoch 2", "epoch 3"]
    query = replace(asked[1], permutations=5)
    found = geometry.recipe(query, lab)
    assert heard == sorted(heard) and heard[-1] == 1.0
    rows = list(found.rows(query))
    assert list(rows[0]) == [
        *("checkpoint", "reference", "layer"),
        *(f"rank_correlation{end}" for end in ("", "_low", "_high", "_chance")),
        *("gromov_wasserstein", "unmatched"),
    ]
    assert rows[0]["unmatched"] is None
    assert rows[2]["unmatched"] == found.unmatched[2]
    fewer = geometry.recipe(replace(query, most=10, seed=3), lab)
    drawn = np.sort(np.random.default_rng(3).permutation(24)[:10])
    x, y = (lab.readout(one, study.prompts).residuals[drawn, 2] for one in (query.checkpoint, study.base))
    assert fewer.rank_correlation.value[2] == pytest.approx(spearman(x, y), rel=1e-6)
