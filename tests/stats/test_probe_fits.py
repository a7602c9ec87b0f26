"""Regressions on nested folds against scikit-learn's pipeline with a tight tolerance."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from backend.stats import probe_fits
from backend.stats.probe_fits import Fold

STRENGTHS = (1e-4, 3e-3, 1e-1, 3.0)
FOLD = Fold(np.arange(3, 60), ((np.arange(3, 40), np.arange(40, 60)), (np.arange(20, 60), np.arange(3, 20))))


def features(classes: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Massive dimensions, a constant one, one that only a review outside the fold has, and copies of a text."""
    rng = np.random.default_rng(width)
    labels = rng.permutation(np.arange(63) % classes)
    x = rng.normal(size=(63, width)) + 0.3 * rng.normal(size=(classes, width))[labels]
    x = x * rng.uniform(0.1, 5, width) + rng.normal(size=width) * 20
    x[:, :2] *= 3000
    x[:, 2], x[:, 3] = 0.1, 0.7
    x[0, 3] = 5e4
    x[50:55] = x[10:15]
    labels[50:55] = labels[10:15]
    return x.astype(np.float32), labels


def plain(x: np.ndarray, labels: np.ndarray, rows: np.ndarray, strength: float):
    model = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-12, max_iter=1000)
    return make_pipeline(StandardScaler(), model).fit(x[rows].astype(np.float64), labels[rows])


@pytest.mark.parametrize(("classes", "width", "exact"), [(2, 150, 1e-6), (2, 20, 1e-3), (3, 150, 1e-3)])
def test_logits_and_weights_are_those_of_the_pipeline(classes: int, width: int, exact: float):
    """To 1e-6 where the solver is ours, to the solver's own tolerance elsewhere."""
    x, labels = features(classes, width)
    (fits,) = probe_fits.fits(x, labels, [FOLD])
    assert isinstance(fits, probe_fits.Wide) == (exact == 1e-6)
    for (train, test), logits in zip(FOLD.inner, fits.held_out(STRENGTHS), strict=True):
        for strength, found in zip(STRENGTHS, logits, strict=True):
            expected = plain(x, labels, train, strength).predict_log_proba(x[test].astype(np.float64))
            relative = found - found[:, :1]
            np.testing.assert_allclose(relative, expected - expected[:, :1], rtol=exact, atol=exact)
    for strength in STRENGTHS:
        weights, offsets = fits.weights(strength)
        found = x.astype(np.float64) @ weights.T + offsets
        expected = plain(x, labels, FOLD.outer, strength).predict_log_proba(x.astype(np.float64))
        rows = FOLD.outer
        difference = (found - found[:, :1])[rows] - (expected - expected[:, :1])[rows]
        np.testing.assert_allclose(difference, 0, atol=exact * 10)
        if exact == 1e-6:
            np.testing.assert_allclose(weights[:, 2:4] * x[rows, 2:4].max(), 0, atol=1e-6)


def test_wide_and_narrow_find_the_same_minimum():
    x, labels = features(2, 150)
    wide, narrow = next(iter(probe_fits.fits(x, labels, [FOLD]))), probe_fits.Narrow(x.astype(float), labels, FOLD)
    for ours, theirs in zip(wide.held_out(STRENGTHS), narrow.held_out(STRENGTHS), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-3)


def test_each_fold_has_its_own_parts():
    x, labels = features(2, 150)
    other = Fold(np.arange(50), ((np.arange(30), np.arange(30, 50)),))
    first, second = probe_fits.fits(x, labels, [FOLD, other])
    (alone,) = probe_fits.fits(x, labels, [other])
    for ours, theirs in zip(second.weights(0.1), alone.weights(0.1), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)
    assert np.abs(first.weights(0.1)[0] - second.weights(0.1)[0]).max() > 1e-4
