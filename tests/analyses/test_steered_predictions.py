"""What adding a direction does to predictions: sums by hand, a plain loop, no change, rows and queries."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.analyses import steered_predictions
from backend.errors import UndefinedError
from backend.lab.outputs import SideEffects
from backend.study.kinds import UNLABELLED
from tests.fakes import FakeModels, fake_lab, fake_study


def effects(runs: int = 6, texts: int = 30) -> SideEffects:
    rng = np.random.default_rng(0)
    predicted = rng.integers(1, 12, texts)
    plain = (predicted * rng.uniform(1, 3, texts)).astype(np.float32)
    extra = (predicted * rng.uniform(0, 0.5, (runs, texts))).astype(np.float32)
    return SideEffects(plain, plain + extra, (0.8 * extra).astype(np.float32), predicted)


def test_two_sentences_by_hand():
    given = SideEffects(
        plain_loss=np.array([2.0, 4.0], np.float32),
        loss=np.array([[3.0, 6.0], [2.0, 4.0]], np.float32),
        kl=np.array([[1.0, 0.5], [0.0, 0.3]], np.float32),
        predicted=np.array([1, 2]),
    )
    result = steered_predictions.steered(given, 1, draws=20)
    assert result.kl_from_plain.value == pytest.approx(0.5) and result.loss_change.value == pytest.approx(1.0)
    np.testing.assert_allclose(result.null, [[0.1]], rtol=1e-6)


def test_agrees_with_a_plain_loop_and_lies_in_its_interval():
    given = effects()
    result = steered_predictions.steered(given, 2, draws=300)
    tokens = int(given.predicted.sum())
    by_loop = [sum(map(float, run)) / tokens for run in given.kl]
    np.testing.assert_allclose(result.kl_from_plain.value, by_loop[:2], rtol=1e-5)
    np.testing.assert_allclose(result.null, np.reshape(by_loop[2:], (2, 2)), rtol=1e-5)
    assert (result.kl_from_plain.low < result.kl_from_plain.value).all()
    assert (result.loss_change.value < result.loss_change.high).all()


def test_no_change_is_zero():
    given = effects(1)
    same = replace(given, loss=given.plain_loss[None], kl=0 * given.kl)
    result = steered_predictions.steered(same, 1, draws=20)
    np.testing.assert_allclose([*result.kl_from_plain.ends, *result.loss_change.ends], 0, atol=1e-12)


@pytest.mark.parametrize("classes", [2, 3])
def test_recipe_rows_and_queries(tmp_path, classes: int):
    models = FakeModels(layers=3, width=8)
    study = fake_study(models=models, reviews=24, classes=classes, kind="contrast")
    queries = steered_predictions.queries(study)
    assert [(q.checkpoint.label, q.direction) for q in queries] == [
        (label, c) for c in range(1 if classes == 2 else 3) for label in ("base", "epoch 3")
    ]
    lab = fake_lab(tmp_path, models)
    query = replace(queries[1], null=2, draws=20)
    rows = list(steered_predictions.recipe(query, lab).rows(query))
    assert [(row["draw"], row["alpha"]) for row in rows] == [(d, a) for d in (None, 0, 1) for a in query.alphas]
    assert ("class" in rows[0]) == (classes == 3)
    assert rows[0]["kl_from_plain_low"] <= rows[0]["kl_from_plain"] and rows[-1]["loss_change"] is None


def test_a_study_with_answers_is_judged_by_them_and_one_class_has_no_direction(tmp_path):
    models = FakeModels(layers=3, width=8)
    assert steered_predictions.queries(fake_study(models=models, reviews=24)) == []
    texts = fake_study(models=models, reviews=24, kind="texts")
    assert steered_predictions.queries(texts) == []
    with pytest.raises(UndefinedError, match=UNLABELLED.replace(".", r"\.")):
        steered_predictions.recipe(
            steered_predictions.query(texts, texts.base, texts.base, 1), fake_lab(tmp_path, models)
        )


def test_without_a_direction_all_is_undefined(tmp_path):
    models = FakeModels(layers=3, width=8)
    study = fake_study(models=models, reviews=24, kind="contrast")
    query = steered_predictions.query(study, study.base, study.base, 0)
    result = steered_predictions.recipe(query, fake_lab(tmp_path, models))
    assert np.isnan(result.kl_from_plain.value).all() and np.isnan(result.null).all()
