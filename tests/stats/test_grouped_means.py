"""Lengths of mean vectors from sums of groups: by hand, unbiased, covered by intervals, and the floor of halves."""

from __future__ import annotations

import numpy as np
import pytest

from backend.stats import grouped_means


def summed(vectors: np.ndarray, groups: int) -> tuple[np.ndarray, np.ndarray]:
    """Sums [groups, 1, width] and counts [groups, 1] of vectors [n, width]."""
    group = np.arange(len(vectors)) % groups
    total = np.stack([vectors[group == g].sum(axis=0) for g in range(groups)])[:, None]
    return total, np.bincount(group, minlength=groups)[:, None]


def test_two_groups_by_hand():
    total, count = np.array([[[2.0, 0.0]], [[4.0, 3.0]]]), np.array([[1], [2]])
    value, _ = grouped_means.squared_length(grouped_means.Products.of(total, count))
    assert value[0] == pytest.approx(8.0 / 2)  # <x, y + z> over the two pairs of vectors of different groups


def test_leaving_a_group_out_is_a_plain_loop():
    rng = np.random.default_rng(0)
    total, count = rng.normal(size=(6, 2, 5)), rng.integers(1, 9, (6, 2))
    _, without = grouped_means.squared_length(grouped_means.Products.of(total, count))
    for g in range(6):
        left = grouped_means.Products.of(np.delete(total, g, axis=0), np.delete(count, g, axis=0))
        np.testing.assert_allclose(without[:, g], grouped_means.squared_length(left)[0])


def test_it_is_unbiased_and_the_interval_covers():
    rng, truth = np.random.default_rng(1), np.r_[0.5, np.zeros(19)]
    squares, covered = [], 0
    for _ in range(300):
        total, count = summed(truth + rng.normal(size=(64, 20)), 16)
        squares.append(grouped_means.squared_length(grouped_means.Products.of(total, count))[0][0])
        found = grouped_means.length(total, count, np.ones(1))
        covered += bool(found.low[0] <= 0.5 <= found.high[0])
    assert np.mean(squares) == pytest.approx(0.25, abs=0.02)
    assert covered / 300 > 0.9


def test_without_a_change_few_means_exceed_the_floor():
    rng = np.random.default_rng(2)
    exceeded = 0
    for i in range(100):
        total, count = summed(rng.normal(size=(64, 20)), 16)
        plain = np.linalg.norm(total.sum(axis=0)[0] / 64)
        exceeded += bool(plain > grouped_means.floor(total, count, np.ones(1), 40, i)[0])
    assert exceeded / 100 < 0.12


def test_the_floor_is_half_the_distance_of_two_halves():
    total, count = np.array([[[3.0, 0.0]], [[1.0, 2.0]]]), np.array([[1], [1]])
    found = grouped_means.floor(total, count, np.array([2.0]), 20, 0)
    assert found[0] == pytest.approx(np.hypot(2, 2) / 2 / 2)


def test_a_place_without_vectors_is_undefined():
    total, count = np.zeros((4, 1, 3)), np.zeros((4, 1), np.int64)
    assert np.isnan(grouped_means.length(total, count, np.ones(1)).value).all()
    assert np.isnan(grouped_means.floor(total, count, np.ones(1), 5, 0)).all()
