"""Similarity by layer: definitions, intervals, chance, layers without text, the first that moved, recipe and rows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import similarity
from backend.errors import UndefinedError
from backend.stats import intervals, metrics, resampling
from backend.study.pinned import PinnedStudy
from tests.analyses.changed_residuals import LABELS, residuals
from tests.fakes import FakeModels, fake_lab, fake_study
from tests.stats.similarity import cka_of, procrustes

MEASURED = [f"{name}{end}" for name in ("cosine", "cka", "procrustes") for end in ("", "_low", "_high", "_chance")]
COLUMNS = ["checkpoint", "reference", "layer", *MEASURED, "review_cosine"]


def test_every_layer_has_the_measures_of_its_reviews():
    own, base = residuals()
    result = similarity.similarity(own, base, LABELS, draws=300, permutations=20)
    for name in similarity.MEASURES:
        at_0 = getattr(result, name)[0]
        assert np.isnan([*at_0.ends, at_0.chance]).all(), f"layer 0 holds no text: {name}"
    for layer in (1, 2, 3):
        x, y = own[:, layer].astype(float), base[:, layer].astype(float)
        assert result.cka.value[layer] == pytest.approx(cka_of(x, y).estimate)
        assert result.procrustes.value[layer] == pytest.approx(procrustes(x, y).estimate)
        cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(x, y, strict=True)]
        assert result.cosine.value[layer] == pytest.approx(np.mean(cosines), rel=1e-6)
        low, high = intervals.jackknife(
            lambda kept, x=x, y=y: np.array([cka_of(x[kept], y[kept]).estimate, procrustes(x[kept], y[kept]).estimate]),
            LABELS,
        )
        assert (result.cka.low[layer], result.cka.high[layer]) == pytest.approx((low[0], min(1, high[0])))
        assert (result.procrustes.low[layer], result.procrustes.high[layer]) == pytest.approx((low[1], high[1]))
    np.testing.assert_allclose(result.review_cosine, metrics.review_cosine(base))
    assert result.cka.value[1] > result.cka.value[2] > result.cka.value[3]


def test_the_same_model_is_the_same_and_unrelated_ones_are_within_chance():
    _, base = residuals()
    same = similarity.similarity(base, base, LABELS, draws=20, permutations=10)
    np.testing.assert_allclose(same.cka.value[1:], 1)
    np.testing.assert_allclose(same.cosine.value[1:], 1)
    np.testing.assert_allclose(same.procrustes.value[1:], 0, atol=1e-9)
    np.testing.assert_allclose(same.cka.high - same.cka.low, [np.nan, 0, 0, 0], atol=1e-9)
    beyond = 0
    for seed in range(40):
        rng = np.random.default_rng(seed)
        x, y = rng.normal(size=(2, 24, 3, 8)).astype(np.float32)
        result = similarity.similarity(x, y, LABELS, draws=2, permutations=50)
        beyond += sum((result.alike(name).value > result.alike(name).chance).any() for name in similarity.MEASURES)
    assert beyond <= 15, "5 % of 120 curves, with room for luck"


def test_a_larger_similarity_is_a_smaller_disparity():
    result = similarity.similarity(*residuals(), LABELS, draws=20, permutations=10)
    alike = result.alike("procrustes")
    (value, low, high), chance = alike.ends, alike.chance
    np.testing.assert_allclose(value, 1 - result.procrustes.value)
    assert (low[1:] <= value[1:]).all() and (value[1:] <= high[1:]).all()
    assert chance is not None and value[1] > chance[1]
    assert result.alike("cka") is result.cka


def test_the_first_that_moved():
    one = similarity.similarity(*residuals(), LABELS, draws=2, permutations=2)
    high = [[np.nan, 0.99, 0.95, 0.95], [np.nan, 0.95, 0.89, 0.99], [np.nan, 0.92, 0.5, 0.89]]
    results = [replace(one, cka=replace(one.cka, high=np.array(values))) for values in high]
    np.testing.assert_array_equal(similarity.first_below(results, "cka", 0.9), [-1, -1, 1, 2])
    np.testing.assert_array_equal(similarity.first_below(results, "cka", 0.96), [-1, 1, 0, 0])


def test_too_few_reviews_are_one_sentence():
    own, base = residuals()
    with pytest.raises(UndefinedError, match="needs 5 texts"):
        similarity.similarity(own[:4], base[:4], LABELS[:4])


def test_recipe_rows_and_queries(tmp_path):
    models = FakeModels(layers=3, width=8)
    study = fake_study(models=models, reviews=24, classes=3)
    reports: list[float] = []
    lab = fake_lab(tmp_path, models, lambda fraction, _: reports.append(fraction))
    queries = similarity.queries(study)
    assert [query.checkpoint.label for query in queries] == ["epoch 1", "epoch 2", "epoch 3"]
    query = replace(queries[2], draws=50, permutations=5)
    result = similarity.recipe(query, lab)
    assert reports == sorted(reports) and reports[-1] == 1.0
    rows = list(result.rows(query))
    assert {tuple(row) for row in rows} == {tuple(COLUMNS)} and len(rows) == 4
    assert rows[0]["cka"] is None
    assert rows[2]["cka"] == result.cka.value[2]
    without = similarity.recipe(replace(query, drop_largest=2), lab)
    kept = [
        lab.readout(checkpoint, study.prompts).residuals.astype(float)[:, 2]
        for checkpoint in (query.checkpoint, study.base)
    ]
    largest = np.abs(kept[1]).mean(axis=0).argsort()[-2:]
    x, y = (np.delete(one, largest, axis=1) for one in kept)
    assert without.cka.value[2] == pytest.approx(cka_of(x, y).estimate, rel=1e-5)


def with_seed(study: PinnedStudy) -> PinnedStudy:
    """The last checkpoint as a repeat of the one before it."""
    repeat = study.checkpoints[-1]
    ref = repeat.ref.model_copy(update={"seed_of": study.checkpoints[-2].label})
    return replace(study, checkpoints=(*study.checkpoints[:-1], replace(repeat, ref=ref)))


def test_a_checkpoint_of_another_seed_is_set_against_its_twin():
    study = with_seed(fake_study())
    pairs = [(query.checkpoint.label, query.reference.label) for query in similarity.queries(study)]
    assert pairs == [("epoch 1", "base"), ("epoch 2", "base"), ("epoch 3", "base"), ("epoch 3", "epoch 2")]
    assert [one.label for one in study.epochs] == ["base", "epoch 1", "epoch 2"]
    assert len(similarity.queries(study, "epoch 2")) == 3, "no pair twice"


def test_more_dimensions_than_reviews_give_the_numbers_of_the_definitions():
    """Against singular values and norms of the residuals themselves, with massive dimensions and copies of a text."""
    rng = np.random.default_rng(0)
    base = rng.normal(size=(24, 2, 60)) + rng.normal(size=60) * 5
    base[:, :, :2] *= 300
    base[20:] = base[:4]
    own = base + rng.normal(size=base.shape)
    own[20:] = own[:4]
    own, base = own.astype(np.float32), base.astype(np.float32)
    result = similarity.similarity(own, base, LABELS, draws=200, permutations=20, seed=3)
    orders = resampling.permuted_labels(np.arange(24), 20, 3)
    null = np.zeros((20, 2))
    for layer in range(2):
        x, y = (one[:, layer] - one[:, layer].mean(axis=0, dtype=np.float64) for one in (own, base))

        def disparity(x: np.ndarray, y: np.ndarray) -> float:
            x, y = (one - one.mean(axis=0) for one in (x, y))
            return 1 - (np.linalg.svd(x.T @ y)[1].sum() / np.linalg.norm(x) / np.linalg.norm(y)) ** 2

        assert result.procrustes.value[layer] == pytest.approx(disparity(x, y), abs=1e-6)
        low, high = intervals.jackknife(lambda kept, x=x, y=y: np.array(disparity(x[kept], y[kept])), LABELS)
        assert result.procrustes.low[layer] == pytest.approx(max(0, low), abs=1e-6)
        assert result.procrustes.high[layer] == pytest.approx(high, abs=1e-6)
        null[:, layer] = [-disparity(x, y[order]) for order in orders]
        cosines = metrics.cosine(own[:, layer], base[:, layer])
        assert result.cosine.value[layer] == pytest.approx(cosines.mean(), abs=1e-6)
        low, high = intervals.mean_interval(cosines, LABELS, 200, 3)
        assert result.cosine.low[layer] == pytest.approx(float(low), abs=1e-6)
        assert result.cosine.high[layer] == pytest.approx(float(high), abs=1e-6)
    middle = null.mean(axis=0)
    expected = -(middle + intervals.curve_chance(null - middle, 0.0))
    assert result.procrustes.chance == pytest.approx(expected, abs=1e-6)
