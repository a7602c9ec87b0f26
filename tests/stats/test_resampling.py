"""Test inversion against a plain search, and the parts of it against numpy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm, t

from backend.stats import metrics, resampling
from backend.stats.resampling import Resampled

seeds = st.integers(0, 2**32 - 1)


def sample(seed: int, classes: int = 2, signal: float = 2.0, width: int = 4):
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), [5 + c for c in range(classes)])
    x = (
        rng.normal(size=(len(labels), width)) * np.arange(1, width + 1)
        + signal * rng.normal(size=(classes, width))[labels]
    )
    return x - x.mean(axis=0), labels


def resampled(x, labels, classes: int, draws: int = 200) -> Resampled:
    return Resampled.of(x, labels, classes, resampling.bootstrap_counts(labels, draws, 0).astype(float))


@given(seeds, st.integers(2, 3), st.floats(0, 5))
@settings(max_examples=15)
def test_lengths_are_where_a_plain_search_finds_them(seed, classes, signal):
    x, labels = sample(seed, classes, signal)
    draws = resampled(x, labels, classes)
    contrast = metrics.contrasts(classes)[0]
    squared = metrics.unbiased_squared_norm(x[:, None], labels, classes)[0, 0]
    (low, high), *_ = draws.lengths(contrast, squared, np.ones((1, 200)))

    sizes = np.bincount(labels)
    d = metrics.directions(x[:, None], labels, classes)[0, 0]
    covariance = sum(w**2 * np.cov(x[labels == c].T) / sizes[c] for c, w in enumerate(contrast))
    u = d / np.linalg.norm(d)
    sideways = covariance @ u / (u @ covariance @ u)
    wide = t.ppf(0.975, len(x) - classes) / norm.ppf(0.975)
    start = max(np.sqrt(max(0, squared)), np.linalg.norm(d) / 10)
    excess = draws._excess(contrast)

    def above(theta: float) -> float:
        """The share of resamples whose T* is no larger than T."""
        aim = u + (theta / start - 1) * sideways
        d_theta = theta * aim / np.linalg.norm(aim)
        stars = []
        for draw in range(200):
            e = contrast @ draws.errors[:, draw]
            noise = sum(w**2 * draws.spread[c, draw] / sizes[c] for c, w in enumerate(contrast))
            stars.append(theta**2 + wide * (2 * d_theta @ e + excess * (e @ e - noise)))
        return float(np.mean(np.array(stars) <= squared))

    for end, share in ((low, 0.975), (high, 0.025)):
        if end == 0:
            assert above(1e-6) <= share + 1e-9
        else:
            assert above(end * (1 - 1e-6)) >= share >= above(end * (1 + 1e-6))


def test_resamples_vary_as_much_as_samples_do():
    x, labels = sample(0)
    draws = resampled(x, labels, 2, draws=20_000)
    for c in (0, 1):
        expected = np.cov(x[labels == c].T) / (labels == c).sum()
        np.testing.assert_allclose(np.cov(draws.errors[c].T), expected, atol=0.05 * np.trace(expected))
        assert draws.spread[c].mean() == pytest.approx(np.trace(np.cov(x[labels == c].T)), rel=0.02)
    assert draws.within.mean() == pytest.approx(1, abs=0.02)


def test_the_excess_is_the_unbiased_trace_over_the_plug_in():
    """The mean of the unbiased tr A^2 over 400 samples of 6 + 6 reviews is that of the population."""
    rng = np.random.default_rng(1)
    deviation, labels = np.array([2.0, 1.0, 1.0, 0.5, 0.5, 0.5]), np.repeat([0, 1], 6)
    unbiased = []
    for _ in range(400):
        x = rng.normal(size=(12, 6)) * deviation
        draws = resampled(x, labels, 2, draws=1)
        a = sum(np.cov(x[labels == c].T) / 6 for c in (0, 1))
        unbiased.append(draws._excess(np.array([-1.0, 1.0])) ** 2 * np.square(a).sum())
    truth = np.square(2 * np.diag(deviation**2) / 6).sum()
    assert np.mean(unbiased) == pytest.approx(truth, abs=float(4 * np.std(unbiased) / 20))


def test_permuted_labels_are_the_labels_in_another_order():
    labels = np.array([0, 0, 1, 1, 1, 2])
    permuted = resampling.permuted_labels(labels, 300, seed=5)
    assert (np.sort(permuted, axis=1) == labels).all()
    np.testing.assert_allclose(permuted.mean(axis=0), labels.mean(), atol=0.2)


@pytest.mark.parametrize(("reviews", "others", "width"), [(9, 7, 3), (3, 9, 5), (4, 4, 4)])
def test_squared_inner_products_from_either_product(reviews: int, others: int, width: int):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(reviews, width)), rng.normal(size=(others, width))
    expected = sum((a @ b) ** 2 for a in x for b in y)
    assert resampling._inner_squares(x, y) == pytest.approx(expected, rel=1e-12)
