"""Principal components against numpy, signs and places by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.stats import pca

seeds = st.integers(0, 2**32 - 1)
CROSS = np.array([[3.0, 0.0, 1.0], [-3.0, 0.0, 1.0], [0.0, 2.0, 1.0], [0.0, -2.0, 1.0]])


def test_components_by_hand():
    mean, components = pca.pca(CROSS)
    right_up = pca.orient(components, np.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(mean, [0, 0, 1])
    np.testing.assert_allclose(right_up, [[1, 0, 0], [0, 1, 0]], atol=1e-12)
    np.testing.assert_allclose(pca.project(CROSS, mean, right_up), CROSS[:, :2], atol=1e-12)
    np.testing.assert_allclose(pca.explained(CROSS, right_up), [18 / 26, 8 / 26])


def test_signs_belong_to_the_basis():
    plus = np.array([[0.6, 0.8], [-0.8, 0.6]])
    for components in (plus, -plus):
        np.testing.assert_allclose(pca.orient(components, np.array([-1.0, 0.0])), [[-0.6, -0.8], [-0.8, 0.6]])
        at_right_angles = pca.orient(components, np.array([0.6, 0.8]))  # the second: largest loading positive
        np.testing.assert_allclose(at_right_angles, [[0.6, 0.8], [0.8, -0.6]])
        np.testing.assert_allclose(pca.orient(components, np.zeros(2)), [[0.6, 0.8], [0.8, -0.6]])


@given(seeds, st.sampled_from([(6, 20), (20, 6), (40, 3)]))
def test_components_agree_with_a_plain_decomposition(seed, shape):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=shape) * np.arange(1, shape[1] + 1) + 100).astype(np.float32)
    mean, components = pca.pca(x)
    _, lengths, axes = np.linalg.svd(x - x.mean(axis=0, dtype=np.float64), full_matrices=False)
    np.testing.assert_allclose(np.abs(np.vecdot(components, axes[:2])), 1.0, rtol=1e-6)
    np.testing.assert_allclose(pca.explained(x, components), (lengths**2 / (lengths @ lengths))[:2], rtol=1e-5)
    d = rng.normal(size=shape[1])
    assert (pca.orient(components, d) @ d >= 0).all()
    np.testing.assert_allclose(pca.project(x, mean, components).mean(axis=0), 0, atol=1e-4)


def test_a_layer_without_text_has_no_components():
    mean, components = pca.pca(np.full((5, 3), 2.0))
    assert mean.tolist() == [2, 2, 2]
    assert np.isnan(components).all()
    assert np.isnan(pca.orient(components, np.zeros(3))).all()
    assert np.isnan(pca.explained(np.full((5, 3), 2.0), components)).all()


def test_a_line_has_one_component():
    x = np.outer(np.arange(5.0), [3.0, 4.0, 0.0])
    _, components = pca.pca(x)
    np.testing.assert_allclose(np.abs(components[0]), [0.6, 0.8, 0.0], atol=1e-12)
    assert np.isnan(components[1]).all()
    np.testing.assert_allclose(pca.explained(x, components), [1.0, np.nan])


def test_places_between_class_means_by_hand():
    sample = np.array([[[0.0, 0.0]], [[2.0, 0.0]], [[1.0, 4.0]], [[1.0, 6.0]]])  # means (1, 0) and (1, 5)
    labels = np.array([0, 0, 1, 1])
    x = np.array([[[1.0, 0.0]], [[-7.0, 5.0]], [[1.0, 2.5]], [[0.0, 10.0]]])
    np.testing.assert_allclose(pca.places(x, sample, labels, 2)[:, 0, 0], [0, 1, 0.5, 2])
    assert np.isnan(pca.places(x, np.ones((4, 1, 2)), labels, 2)).all(), "a constant layer has no direction"


@given(seeds, st.integers(2, 5))
def test_the_class_means_stand_at_zero_and_one(seed, classes):
    rng = np.random.default_rng(seed)
    sample, labels = rng.normal(size=(6 * classes, 3, 8)), np.arange(6 * classes) % classes
    means = np.stack([sample[labels == c].mean(axis=0) for c in range(classes)])
    places = pca.places(means, sample, labels, classes)
    for c in range(places.shape[-1]):
        one_is = 1 if classes == 2 else c
        others = [k for k in range(classes) if k != one_is]
        np.testing.assert_allclose(places[one_is, :, c], 1)
        np.testing.assert_allclose(places[others, :, c].mean(axis=0), 0, atol=1e-9)
    shifted = pca.places(means + 3, sample + 3, labels, classes)
    np.testing.assert_allclose(shifted, places, atol=1e-9)


@pytest.mark.parametrize("alike", [0.5, 1.0, 1 + 1e-9])
def test_many_reviews_have_the_components_of_a_singular_value_decomposition(alike: float):
    """To 1e-6; where the second and third axis are nearly alike, only the share of their plane is compared."""
    rng = np.random.default_rng(0)
    scale = np.r_[5.0, 2.0, 2.0 * alike, rng.uniform(0, 1, 397)]
    left, right = (np.linalg.qr(rng.normal(size=(size, size)))[0] for size in (401, 400))
    left = left[:400, :400] - left[:400, :400].mean(axis=0)
    left = np.linalg.qr(left[:, :399])[0]
    x = (left * scale[:399]) @ right[:399] + 7
    _, components = pca.pca(x)
    _, singular, vectors = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    shares = np.square(singular[:2]) / np.square(singular).sum()
    np.testing.assert_allclose(pca.explained(x, components), shares, rtol=1e-6)
    np.testing.assert_allclose(components @ components.T, np.eye(2), atol=1e-8)
    compared = 1 if alike >= 1 else 2
    np.testing.assert_allclose(np.abs(np.vecdot(components, vectors[:2]))[:compared], 1, atol=1e-9)


def test_a_line_of_many_reviews_has_one_component():
    x = np.outer(np.arange(300.0), np.r_[3.0, 4.0, np.zeros(500)])
    _, components = pca.pca(x)
    np.testing.assert_allclose(np.abs(components[0, :2]), [0.6, 0.8], atol=1e-12)
    assert np.isnan(components[1]).all()


@pytest.mark.parametrize("reviews", [40, 300])
def test_few_and_many_reviews_have_the_axes_of_a_decomposition(reviews: int):
    """Far from the origin, and with a massive dimension, which squares would drown."""
    x = np.random.default_rng(0).normal(size=(reviews, 6)) * [1e4, 5, 3, 2, 1, 1] + 1e5
    mean, components = pca.pca(x)
    expected = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)[2][:2]
    np.testing.assert_allclose(mean, x.mean(axis=0))
    np.testing.assert_allclose(np.abs(np.vecdot(components, expected)), 1, atol=1e-9)
    np.testing.assert_allclose(components @ components.T, np.eye(2), atol=1e-9)
