"""Regression on ordered values against scikit-learn, scipy and numpy; intervals and chance in simulations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from backend.errors import UndefinedError
from backend.stats import ranks


def stars(reviews: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 6, reviews).astype(float)


@pytest.mark.parametrize("width", [3, 60])
def test_held_out_predictions_are_those_of_scikit_learn(width: int):
    generator = np.random.default_rng(1)
    y = np.stack([stars(40), stars(40, 1)])
    x = generator.normal(size=(40, width)) + 0.3 * y[0][:, None]
    x[:, 0] = 7.0  # constant
    fold_of = ranks.random_folds(40, None, 5, 0)
    found = ranks.held_out(x, y, fold_of)
    for target, ours in zip(y, found, strict=True):
        for fold in range(5):
            test = fold_of == fold
            model = make_pipeline(StandardScaler(), Ridge(alpha=width - 1)).fit(x[~test], target[~test])
            expected = model.predict(x[test]) - target[~test].mean()
            np.testing.assert_allclose(ours[test], expected, rtol=1e-6, atol=1e-9)


def test_correlation_is_scipys_with_ties_and_nan_without_spread():
    generator = np.random.default_rng(2)
    y = np.stack([stars(30, seed) for seed in range(4)])
    predicted = np.round(y + generator.normal(size=y.shape), 1)
    expected = np.array([np.asarray(spearmanr(a, b))[0] for a, b in zip(predicted, y, strict=True)])
    np.testing.assert_allclose(ranks.spearman(predicted, y), expected, rtol=1e-12)
    assert np.isnan(ranks.spearman(np.ones((1, 30)), y[:1])).all()
    np.testing.assert_allclose(ranks.spearman(y, -y), -1)


@pytest.mark.parametrize("strength", [0.0, 0.7, 2.0])
def test_the_interval_holds_the_correlation_of_the_population(strength: float):
    generator = np.random.default_rng(3)

    def drawn(draws: int, reviews: int) -> np.ndarray:
        y = generator.normal(size=(draws, reviews))
        return ranks.spearman(strength * y + generator.normal(size=y.shape), y)

    truth = float(drawn(1, 200_000)[0])
    low, high = ranks.spearman_interval(drawn(2000, 60), 60)
    assert 0.92 < np.mean((low <= truth) & (truth <= high)) < 0.98


def test_the_interval_stays_within_its_bounds():
    low, high = ranks.spearman_interval(np.array([-1.0, 0.0, 1.0, np.nan]), 50)
    assert (low[:3] >= -1).all() and (high[:3] <= 1).all() and np.isnan(low[3])
    assert np.isnan(ranks.spearman_interval(np.array([0.5]), 3)).all()


def test_folds_keep_copies_together_and_are_even():
    groups = np.repeat(np.arange(30), 2)
    fold_of = ranks.random_folds(60, groups, 5, 4)
    assert all(len(set(fold_of[groups == group])) == 1 for group in range(30))
    assert np.bincount(fold_of).tolist() == [12] * 5
    with pytest.raises(UndefinedError, match=r"9 different texts are too few for 5 folds; raise dataset.sample"):
        ranks.random_folds(9, None, 5, 0)


def test_the_slope_is_least_squares_and_half_the_difference_of_two_means():
    generator = np.random.default_rng(5)
    x, y = generator.normal(size=(50, 3, 4)), stars(50)
    z = (y - y.mean()) / y.std()
    expected = np.linalg.lstsq(np.stack([z, np.ones(50)], axis=1), x.reshape(50, -1), rcond=None)[0][0].reshape(3, 4)
    np.testing.assert_allclose(ranks.slope(x, y), expected, atol=1e-12)
    two = np.arange(50) % 2.0
    means = [x[two == value].mean(axis=0) for value in (0, 1)]
    np.testing.assert_allclose(ranks.slope(x, two), (means[1] - means[0]) / 2, atol=1e-12)
