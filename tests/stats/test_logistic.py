"""Logistic regression from inner products against scikit-learn's and against its own optimality conditions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from sklearn.linear_model import LogisticRegression

from backend.stats import logistic

STRENGTHS = (1e-4, 3e-3, 1e-1, 3.0, 100.0)


def made(seed: int, reviews: int, width: int, signal: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(reviews) % 2)
    return rng.normal(size=(reviews, width)) + signal * y[:, None] * rng.normal(size=width), y


@pytest.mark.parametrize(("width", "signal"), [(3, 0.5), (30, 0.0), (200, 0.2), (200, 5.0)])
def test_weights_are_those_of_scikit_learn(width: int, signal: float):
    x, y = made(width, 60, width, signal)
    x[55:] = x[:5]
    found = list(logistic.path(x @ x.T, y, STRENGTHS))
    for strength, (a, b) in zip(STRENGTHS, found, strict=True):
        plain = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(x, y)
        np.testing.assert_allclose(x.T @ a, plain.coef_[0], rtol=1e-6, atol=1e-6 * np.abs(plain.coef_).max())
        assert b == pytest.approx(plain.intercept_[0], rel=1e-6, abs=1e-6)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(STRENGTHS), st.sampled_from([0.0, 1.0, 20.0]))
def test_the_slope_is_zero_from_any_start(seed: int, strength: float, signal: float):
    """a_i = C (y_i - p_i), and they sum to zero; unequal classes, features of any size."""
    x, _ = made(seed, 40, 100, 0)
    rng = np.random.default_rng(seed)
    y = (rng.random(40) < 0.3).astype(np.int64)
    y[:2] = 0, 1
    x = (x + signal * y[:, None]) * rng.choice([0.1, 1.0, 10.0])
    *_, (a, b) = logistic.path(x @ x.T, y, (3.0, strength))
    np.testing.assert_allclose(a, strength * (y - expit(x @ x.T @ a + b)), atol=1e-7 * strength)
    assert abs(a.sum()) < 1e-9 * strength
