"""Classify held-out reviews by the nearest class mean of the others.

No fit beyond the means, so that the null over thousands of permutations costs matrix products only. Two classes: the
side of the midpoint along the class direction. Source: Hastie, Tibshirani and Friedman 2009, section 4.3, with equal
priors and a spherical covariance (scikit-learn's NearestCentroid; "mass-mean probing" of Marks and Tegmark 2023).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int

from backend.stats import metrics
from backend.stats.metrics import Labels

Points = Float[np.ndarray, "reviews dimensions"]
Folds = Int[np.ndarray, " reviews"]
BATCH_VALUES = 4 << 20
"""Scores that are held at once."""


def predictions(points: Points, labels: Labels, fold_of: Folds, classes: int) -> Labels:
    """Predict each review's class by the nearest of the class means over the other folds; `fold_of` starts at 0.

    Every class needs a review outside each fold.
    """
    return next(_predictions(points, labels[None], fold_of[None], classes))


def null_recalls(
    points: Points, labels: Labels, fold_of: Folds, classes: int, permutations: int, seed: int
) -> Float[np.ndarray, "permutations classes"]:
    """Compute the recalls for reviews in random order, 0..1; label and fold move together, so folds stay stratified.

    A seed gives the same orders for every layer and checkpoint.
    """
    orders = np.random.default_rng(seed).permuted(np.tile(np.arange(len(labels)), (permutations, 1)), axis=1)
    moved = labels[orders]
    predicted = _predictions(points, moved, fold_of[orders], classes)
    return np.stack([metrics.recalls(one, true, classes) for one, true in zip(predicted, moved, strict=True)])


def _predictions(
    points: Points,
    labels: Int[np.ndarray, "orders reviews"],
    fold_of: Int[np.ndarray, "orders reviews"],
    classes: int,
) -> Iterator[Labels]:
    """Yield the predictions for each order of labels and folds, as many at once as memory allows."""
    folds, reviews = int(fold_of.max()) + 1, len(points)
    centred = points - points.mean(axis=0, dtype=np.float64)
    batch = max(1, BATCH_VALUES // (reviews * folds * classes))
    for start in range(0, len(labels), batch):
        here = slice(start, start + batch)
        member = labels[here, None] == np.arange(classes)[:, None]
        inside = fold_of[here, None] == np.arange(folds)[:, None]
        weights = (member[:, None] & ~inside[:, :, None]).astype(np.float64)  # [orders, folds, classes, reviews]
        weights /= weights.sum(axis=-1, keepdims=True)
        means = weights @ centred
        nearness = 2 * means @ centred.T - np.square(means).sum(axis=-1, keepdims=True)
        of_fold = np.take_along_axis(nearness, fold_of[here, None, None], axis=1)[:, 0]  # [orders, classes, reviews]
        yield from of_fold.argmax(axis=1)
