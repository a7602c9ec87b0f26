"""Distances compared: scipy's Spearman, refitting without each review, and matchings that must be found."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.stats import rsa
from tests.stats.similarity import spearman


def pair(seed: int = 0, reviews: int = 12) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(reviews, 6))
    return x, x + rng.normal(size=x.shape)


@pytest.mark.parametrize("ties", [False, True])
def test_rank_correlation_agrees_with_scipy_with_all_and_without_each_review(ties: bool):
    x, y = pair()
    if ties:
        x[3], y[5] = x[4], y[7]
    left = rsa.rank_correlation(rsa.distances(x), rsa.distances(y))
    assert left.estimate == pytest.approx(spearman(x, y))
    expected = [spearman(np.delete(x, i, axis=0), np.delete(y, i, axis=0)) for i in range(len(x))]
    np.testing.assert_allclose(left.without, expected)


def test_repaired_rank_correlation_is_that_of_permuted_reviews():
    x, y = pair(1)
    orders = np.stack([np.random.default_rng(seed).permutation(len(x)) for seed in range(3)])
    result = rsa.repaired_rank_correlation(rsa.distances(x), rsa.distances(y), orders)
    np.testing.assert_allclose(result, [spearman(x, y[order]) for order in orders])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.01, 100))
def test_rotation_scale_and_shift_change_nothing(seed: int, scale: float):
    x, y = pair(seed)
    turn = np.linalg.qr(np.random.default_rng(seed).normal(size=(6, 6)))[0]
    a, b, moved = (rsa.distances(one) for one in (x, y, scale * y @ turn + 5))
    np.testing.assert_allclose(moved, b, rtol=1e-6, atol=1e-9)
    result, apart = rsa.gromov_wasserstein(a, b)
    assert 0 <= result <= min(apart, np.square(a - b).mean()) + 1e-9
    assert rsa.gromov_wasserstein(b, moved)[0] == pytest.approx(0, abs=1e-9)


def test_distances_have_a_mean_of_one():
    apart = rsa.distances(pair()[0])
    assert apart[np.triu_indices(len(apart), 1)].mean() == pytest.approx(1)


def test_gromov_wasserstein_by_hand():
    """Three reviews at 0, 1, 3 and at 0, 2, 3 are mirror images: the best matching turns them round, and costs nothing.

    Matched with everyone, the mean squared difference is 2 var of the distances (1, 2, 3, each twice, and 0 thrice).
    """
    a, b = (rsa.distances(np.array([values], dtype=float).T) for values in ([0, 1, 3], [0, 2, 3]))
    result, apart = rsa.gromov_wasserstein(a, b)
    values = np.array([0, 0, 0, 1, 1, 2, 2, 3, 3]) / 2
    assert apart == pytest.approx(2 * values.var())
    assert result <= np.square(a - b).mean() < apart


def test_the_solver_brings_no_torch():
    program = (
        "import sys, numpy as np; from backend.stats import rsa; a = rsa.distances(np.eye(5) * np.arange(1, 6)); "
        "rsa.gromov_wasserstein(a, a); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parents[2], check=False).returncode == 0
