"""Held-out class means against scikit-learn, and their null against one order after the other."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from backend.stats import centroids, metrics


def reviews(count: int, classes: int, width: int = 7, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points with means that are a little apart, labels of unequal number, and a fold of each."""
    rng = np.random.default_rng(seed)
    labels = np.minimum(np.arange(count) % (classes + 1), classes - 1)
    points = 50 + rng.normal(size=(count, width)) + 0.5 * rng.normal(size=(classes, width))[labels]
    return points, labels, rng.permutation(np.arange(count) % 4)


def by_scikit_learn(points: np.ndarray, labels: np.ndarray, fold_of: np.ndarray) -> np.ndarray:
    predicted = np.empty_like(labels)
    for fold in np.unique(fold_of):
        here = fold_of == fold
        predicted[here] = NearestCentroid().fit(points[~here], labels[~here]).predict(points[here])
    return predicted


@pytest.mark.parametrize("classes", [2, 3, 5])
def test_predictions_are_those_of_the_nearest_mean_of_the_other_folds(classes: int):
    points, labels, fold_of = reviews(60, classes)
    expected = by_scikit_learn(points, labels, fold_of)
    assert centroids.predictions(points, labels, fold_of, classes).tolist() == expected.tolist()
    assert 0.2 < (expected == labels).mean() < 1


@pytest.mark.parametrize("classes", [2, 3])
def test_the_null_moves_label_and_fold_of_a_review_together(classes: int, monkeypatch: pytest.MonkeyPatch):
    points, labels, fold_of = reviews(48, classes)
    layers = [points[:, :2], points]
    null = centroids.null_recalls(layers, labels, fold_of, classes, 20, seed=3)
    orders = np.random.default_rng(3).permuted(np.tile(np.arange(48), (20, 1)), axis=1)
    for order, recalls in zip(orders, null, strict=True):
        for here, recall in zip(layers, recalls, strict=True):
            predicted = by_scikit_learn(here, labels[order], fold_of[order])
            np.testing.assert_allclose(recall, metrics.recalls(predicted, labels[order], classes))
    monkeypatch.setattr(centroids, "BATCH_VALUES", 1)
    np.testing.assert_array_equal(centroids.null_recalls(layers, labels, fold_of, classes, 20, seed=3), null)
