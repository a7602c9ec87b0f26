"""Similarity measures: by hand, invariances, naive references, and every value without a review against refitting."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
import scipy.spatial
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.errors import UndefinedError
from backend.stats import cka
from backend.stats.rotation import rotated
from tests.stats.similarity import cka_of, procrustes

seeds = st.integers(0, 2**32 - 1)


def pair(seed: int, reviews: int = 14, width: int = 5, shared: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(reviews, width)) * np.linspace(2, 0.5, width)
    return x, shared * x @ rng.normal(size=(width, width)) + rng.normal(size=(reviews, width)) + 3


def rotation(seed: int, width: int) -> np.ndarray:
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]


def naive_hsic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    """Song et al. 2012, equation 4: the mean of h over all ordered quadruples of different reviews."""
    n, total, count = len(k), 0.0, 0
    for i, j, q, r in np.ndindex(n, n, n, n):
        if len({i, j, q, r}) == 4:
            total += k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q])
            count += 1
    return float(total) / count


# CKA


@pytest.mark.parametrize("products", [1 << 24, 30])
def test_it_is_made_of_means_over_all_quadruples(products: int, monkeypatch: pytest.MonkeyPatch):
    x, y = pair(0, reviews=7, width=3)
    k, l = x @ x.T, y @ y.T  # noqa: E741
    expected = naive_hsic(k, l) / np.sqrt(naive_hsic(k, k) * naive_hsic(l, l))
    monkeypatch.setattr(cka, "PRODUCTS", products)
    assert cka.cka(x, y).estimate == pytest.approx(expected, rel=1e-9)


def test_cka_by_the_published_formula_on_uncentred_kernels():
    """Trace and sums written out with matrices, which centring must not change."""
    x, y = pair(1, reviews=20, width=40)

    def hsic(a: np.ndarray, b: np.ndarray) -> float:
        k, l, one, n = a @ a.T, b @ b.T, np.ones(len(a)), len(a)  # noqa: E741
        np.fill_diagonal(k, 0)
        np.fill_diagonal(l, 0)
        ends = (one @ k @ one) * (one @ l @ one) / ((n - 1) * (n - 2)) - 2 / (n - 2) * (one @ k @ l @ one)
        return float(np.trace(k @ l) + ends) / (n * (n - 3))

    assert cka_of(x, y).estimate == pytest.approx(hsic(x, y) / np.sqrt(hsic(x, x) * hsic(y, y)), rel=1e-9)


def test_one_pair_of_five_reviews_by_hand():
    """Only reviews 0 and 1 are alike: trace 2, sums 2 and 2, row sums (1, 1, 0, 0, 0) with product 2.

    (2 + 4 / (4 * 3) - 2 / 3 * 2) / (5 * 2) = 0.1; of one pair and another, (0 + 1/3 - 0) / 10.
    """
    x, y = np.array([1.0, 1, 0, 0, 0])[:, None], np.array([0.0, 0, 1, 1, 0])[:, None]
    assert cka.cka(x, x).estimate == pytest.approx(1)
    assert cka.cka(x, y).estimate == pytest.approx(1 / 3)


@settings(max_examples=20, deadline=None)
@given(seeds, st.floats(0.01, 100))
def test_rotation_scale_and_shift_change_neither(seed: int, scale: float):
    x, y = pair(seed)
    moved = scale * y @ rotation(seed, 5) - 7
    assert cka_of(x, moved).estimate == pytest.approx(cka_of(x, y).estimate, abs=1e-9)
    assert procrustes(x, moved).estimate == pytest.approx(procrustes(x, y).estimate, abs=1e-9)
    assert cka_of(x, scale * x @ rotation(seed, 5) + 1).estimate == pytest.approx(1)
    assert procrustes(x, scale * x @ rotation(seed, 5) + 1).estimate == pytest.approx(0, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_symmetric_and_bounded(seed: int):
    x, y = pair(seed, width=20)
    assert cka_of(x, y).estimate == pytest.approx(cka_of(y, x).estimate)
    assert cka_of(x, y).estimate <= 1 + 1e-12
    assert procrustes(x, y).estimate == pytest.approx(procrustes(y, x).estimate)
    assert 0 <= procrustes(x, y).estimate <= 1


def test_unrelated_reviews_have_a_cka_of_zero_on_average():
    rng = np.random.default_rng(0)
    values = [cka_of(rng.normal(size=(20, 60)), rng.normal(size=(20, 60))).estimate for _ in range(400)]
    assert abs(np.mean(values)) < 4 * np.std(values) / 20


# Procrustes


@pytest.mark.parametrize("width", [1, 3, 9])
def test_procrustes_agrees_with_scipy(width: int):
    x, y = pair(2, width=width)
    assert procrustes(x, y).estimate == pytest.approx(scipy.spatial.procrustes(x, y)[2], abs=1e-9)


def test_procrustes_by_hand():
    """Along the axes with squares (4, 1) and (1, 1): nuclear norm 2 + 1, of sizes 5 and 2, so 1 - 9/10."""
    x = np.array([[2.0, 0], [-2, 0], [0, 1], [0, -1]]) / np.sqrt(2)
    y = np.array([[1.0, 0], [-1, 0], [0, 1], [0, -1]]) / np.sqrt(2)
    assert procrustes(x, y).estimate == pytest.approx(0.1)


@pytest.mark.parametrize("width", [1, 3, 13, 40])
@pytest.mark.parametrize("measure", [cka_of, procrustes])
def test_without_a_review_is_what_refitting_gives(measure, width: int):
    x, y = pair(3, width=width)
    left = measure(x, y)
    expected = [measure(np.delete(x, i, axis=0), np.delete(y, i, axis=0)).estimate for i in range(len(x))]
    np.testing.assert_allclose(left.without, expected, atol=1e-7)


def test_without_a_review_of_the_same_model_and_of_few_dimensions_that_vary():
    x = pair(4, width=9)[0]
    np.testing.assert_allclose(cka_of(x, x).without, 1)
    np.testing.assert_allclose(procrustes(x, x).without, 0, atol=1e-8)
    x[:, 3:] = 0
    y = x @ rotation(0, 9) * 2
    np.testing.assert_allclose(procrustes(x, y).without, 0, atol=1e-8)


# Chance and the rest


@pytest.mark.parametrize("width", [1, 2, 5, 13, 30])
def test_repaired_measures_are_those_of_permuted_reviews(width: int):
    x, y = pair(5, width=width)
    orders = np.stack([np.random.default_rng(seed).permutation(len(x)) for seed in range(4)])
    alike, disparities = cka.repaired(rotated(x), rotated(y), orders)
    np.testing.assert_allclose(alike, [cka_of(x, y[order]).estimate for order in orders], atol=1e-9)
    np.testing.assert_allclose(disparities, [procrustes(x, y[order]).estimate for order in orders], atol=1e-9)
    units = [one / np.linalg.norm(one, axis=1, keepdims=True) for one in (x, y)]
    expected = [np.mean((units[0] * units[1][order]).sum(axis=1)) for order in orders]
    np.testing.assert_allclose(cka.repaired_cosine(x, y, orders), expected, atol=1e-12)


def test_many_reviews_take_no_matrix_of_their_pairs(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cka, "PRODUCTS", 1 << 16)
    monkeypatch.setattr(cka, "ROWS", 100)
    x, y = pair(8, reviews=2000, width=4)
    orders = np.random.default_rng(0).permuted(np.tile(np.arange(2000), (3, 1)), axis=1)
    tracemalloc.start()
    try:
        cka.crossed([x, y], [x, y])
        cka.repaired(x, y, orders)
        cka.repaired_cosine(x, y, orders)
        assert tracemalloc.get_traced_memory()[1] < 2000 * 2000 * 8 / 4
    finally:
        tracemalloc.stop()


def test_rows_of_matrices_chunk_by_chunk(monkeypatch: pytest.MonkeyPatch):
    x, y = (one.astype(np.float32) for one in pair(6, reviews=50))
    order = np.random.default_rng(0).permutation(50)
    monkeypatch.setattr(cka, "ROWS", 7)
    result = cka.of_rows(x, y, order)
    assert result.procrustes == pytest.approx(scipy.spatial.procrustes(x, y[order])[2], rel=1e-5)
    cosines = [a @ b / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(x, y[order], strict=True)]
    assert result.cosine == pytest.approx(np.mean(cosines), rel=1e-5)


def test_a_model_that_does_not_vary_is_undefined_and_too_few_reviews_are_an_error():
    x = pair(7)[0]
    assert np.isnan(cka_of(x, np.ones_like(x)).estimate)
    assert np.isnan(procrustes(x, np.ones_like(x)).estimate)
    with pytest.raises(UndefinedError, match="needs 5 texts, and the sample has 4; raise"):
        cka.enough(4)
