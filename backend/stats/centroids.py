"""Classify held-out reviews by the nearest class mean of the others.

No fit beyond the means, so that the null over thousands of permutations costs matrix products only. Two classes: the
side of the midpoint along the class direction. Source: Hastie, Tibshirani and Friedman 2009, section 4.3, with equal
priors and a spherical covariance (scikit-learn's NearestCentroid; "mass-mean probing" of Marks and Tegmark 2023).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from backend.stats import metrics
from backend.stats.metrics import Labels

Points = Float[np.ndarray, "reviews _"]
"""Any number of dimensions, which may differ from layer to layer."""
Folds = Int[np.ndarray, " reviews"]
BATCH_VALUES = 4 << 20
"""Scores that are held at once."""


def predictions(points: Points, labels: Labels, fold_of: Folds, classes: int) -> Labels:
    """Predict each review's class by the nearest of the class means over the other folds; `fold_of` starts at 0.

    Every class needs a review outside each fold.
    """
    return _nearest(points, _weights(labels[None], fold_of[None], classes), fold_of[None])[0]


def null_recalls(
    layers: Sequence[Points], labels: Labels, fold_of: Folds, classes: int, permutations: int, seed: int
) -> Float[np.ndarray, "permutations layers classes"]:
    """Compute the recalls for reviews in random order, 0..1; label and fold move together, so folds stay stratified.

    All layers have the same orders; a seed gives the same ones for every checkpoint.
    """
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(len(labels)), (permutations, 1)), axis=1)
    sizes = metrics.class_sizes(labels, classes)
    batch = max(1, BATCH_VALUES // (len(labels) * (int(fold_of.max()) + 1) * classes))
    null = np.empty((permutations, len(layers), classes))
    for start in range(0, permutations, batch):
        here = slice(start, start + batch)
        moved, folds = labels[orders[here]], fold_of[orders[here]]
        weights = _weights(moved, folds, classes)
        for layer, points in enumerate(layers):
            right = _nearest(points, weights, folds) == moved
            for c in range(classes):
                null[here, layer, c] = (right & (moved == c)).sum(axis=1) / sizes[c]
    return null


def _weights(
    labels: Int[np.ndarray, "orders reviews"], fold_of: Int[np.ndarray, "orders reviews"], classes: int
) -> Float[np.ndarray, "orders folds classes reviews"]:
    """Return the weight of each review in the means of the classes over the other folds."""
    member = labels[:, None] == np.arange(classes)[:, None]
    inside = fold_of[:, None] == np.arange(int(fold_of.max()) + 1)[:, None]
    chosen = member[:, None] & ~inside[:, :, None]
    return chosen / chosen.sum(axis=-1, keepdims=True)


def _nearest(
    points: Points,
    weights: Float[np.ndarray, "orders folds classes reviews"],
    fold_of: Int[np.ndarray, "orders reviews"],
) -> Int[np.ndarray, "orders reviews"]:
    """Return the class of the nearest mean for each review, with the means without its fold."""
    centred = points - points.mean(axis=0, dtype=np.float64)
    orders, folds, classes, reviews = weights.shape
    means = weights.reshape(-1, reviews) @ centred
    offsets = np.square(means).sum(axis=1).reshape(orders, folds, classes)
    inner = (means @ centred.T).reshape(orders, folds, classes, reviews)
    row, review = np.arange(orders)[:, None], np.arange(reviews)
    nearness = 2 * inner[row, fold_of, :, review] - offsets[row, fold_of]  # [orders, reviews, classes]
    return nearness.argmax(axis=2)
