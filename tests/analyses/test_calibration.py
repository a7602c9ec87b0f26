"""Calibration: counts by hand, scikit-learn as reference, bounds, the recipe on fakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, brier_score_loss

from backend.analyses import calibration
from tests.fakes import fake_lab, fake_study


def odds(*probabilities: float) -> np.ndarray:
    """Logits that give class 1 these probabilities."""
    p = np.array(probabilities)
    return np.log(np.column_stack([1 - p, p]))


def test_four_reviews_by_hand() -> None:
    """Of answers with 0.9, 0.9, 0.6 and 0.8, the first three are right."""
    result = calibration.calibration(odds(0.9, 0.1, 0.6, 0.8), np.array([1, 0, 1, 0]), draws=100)
    brier, confidence, overconfidence = result.measures.value
    assert brier == pytest.approx(2 * (0.01 + 0.01 + 0.16 + 0.64) / 4)
    assert confidence == pytest.approx(0.8)
    assert overconfidence == pytest.approx(0.8 - 0.75)
    assert result.guessing == 0.5
    assert result.bin_n.tolist() == [4] and result.bin_accuracy.value.tolist() == [0.75]


@settings(max_examples=20)
@given(st.integers(0, 2**31), st.integers(2, 4))
def test_agrees_with_scikit_learn(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(20 * classes) % classes)
    logits = 2 * rng.normal(size=(len(labels), classes)) + np.eye(classes)[labels]
    result = calibration.calibration(logits, labels, bins=4, draws=20)
    probability = softmax(logits, axis=1)
    brier = np.mean([brier_score_loss(labels == c, probability[:, c]) for c in range(classes)]) * classes
    assert result.measures.value[0] == pytest.approx(brier)
    right = accuracy_score(labels, logits.argmax(axis=1))
    assert result.measures.value[2] == pytest.approx(probability.max(axis=1).mean() - right)
    assert 0 <= result.measures.value[0] <= 2 and (result.measures.low <= result.measures.high).all()
    correct = logits.argmax(axis=1) == labels
    assert (result.bin_accuracy.value * result.bin_n).sum() == pytest.approx(correct.sum())


def test_bins_are_those_of_the_quantiles() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(160) % 2
    logits = odds(*rng.uniform(0.02, 0.98, size=160))
    result = calibration.calibration(logits, labels, bins=8, draws=20)
    confidence, correct = softmax(logits, axis=1).max(axis=1), logits.argmax(axis=1) == labels
    share, mean = calibration_curve(correct, confidence, n_bins=8, strategy="quantile")
    np.testing.assert_allclose(result.bin_accuracy.value, share)
    np.testing.assert_allclose(result.bin_confidence, mean)
    assert result.bin_n.tolist() == [20] * 8


def test_answers_drawn_with_their_own_probability_are_calibrated() -> None:
    rng, inside = np.random.default_rng(1), 0
    for _ in range(100):
        p = rng.uniform(0.05, 0.95, size=200)
        labels = (rng.random(200) < p).astype(np.int64)
        result = calibration.calibration(odds(*p), labels, draws=200)
        inside += result.measures.low[2] <= 0 <= result.measures.high[2]
    assert inside >= 88, "a 95 % interval of overconfidence holds 0"


def test_recipe_rows_and_queries(tmp_path: Path) -> None:
    study, lab = fake_study(epochs=2, reviews=40), fake_lab(tmp_path)
    asked = calibration.queries(study)
    assert [query.checkpoint.label for query in asked] == ["base", "epoch 1", "epoch 2"]
    result = calibration.recipe(asked[2], lab)
    logits = lab.readout(study.checkpoints[2], study.prompts).logits
    (row,) = result.rows(asked[2])
    assert row["confidence"] == pytest.approx(softmax(logits.astype(float), axis=1).max(axis=1).mean())
    assert (row["checkpoint"], row["n"], row["guessing_brier"]) == ("epoch 2", 40, 0.5)
    assert row["brier_low"] <= row["brier"] <= row["brier_high"]
