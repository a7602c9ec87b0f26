"""Rotations keep inner products, of one model and of two, whatever depends on what."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.stats.rotation import factor, jointly, rotated


def centred(x: np.ndarray) -> np.ndarray:
    return x - x.mean(axis=0, dtype=np.float64)


def layer(seed: int, reviews: int = 20, width: int = 90, copies: int = 0, massive: float = 1.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(reviews, width)) * np.linspace(1, 0.01, width) + 50
    x[:, :2] *= massive
    x[reviews - copies :] = x[:copies]
    return x.astype(np.float32)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 8), st.sampled_from([1.0, 1e4]), st.sampled_from([3, 20, 21, 90]))
def test_every_inner_product_is_kept(seed: int, copies: int, massive: float, width: int):
    x, y = (layer(seed + i, width=width, copies=copies, massive=massive) for i in range(2))
    largest = np.square(centred(x)).sum(axis=1).max()
    own = rotated(x)
    assert own.shape[1] <= min(len(x), width)
    np.testing.assert_allclose(own @ own.T, centred(x) @ centred(x).T, rtol=1e-9, atol=1e-13 * largest)
    a, b = jointly(x, y)
    assert a.shape == b.shape and a.shape[1] <= min(2 * len(x), width)
    for (one, other), (plain, plain_other) in (((a, b), (x, y)), ((a, a), (x, x)), ((b, b), (y, y))):
        expected = centred(plain) @ centred(plain_other).T
        np.testing.assert_allclose(one @ other.T, expected, rtol=1e-9, atol=1e-13 * largest)


def test_singular_values_are_those_of_the_residuals():
    x = layer(0, massive=1e3)
    expected = np.linalg.svd(centred(x), compute_uv=False)[:19]
    np.testing.assert_allclose(np.linalg.svd(rotated(x), compute_uv=False)[:19], expected, rtol=1e-6)


def test_reviews_that_are_all_alike_keep_one_dimension():
    assert factor(np.zeros((4, 4))) == pytest.approx(np.zeros((4, 1)))
    assert rotated(np.full((4, 9), 2.5)) == pytest.approx(np.zeros((4, 1)))
    alone, other = jointly(np.full((4, 9), 2.5), np.zeros((4, 9)))
    assert alone.shape == other.shape == (4, 1)
