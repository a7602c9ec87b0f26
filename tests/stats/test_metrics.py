"""Directions and cosines by hand, by a bound or invariance, and against a reference written by somebody else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import pdist
from scipy.stats import ortho_group

from backend.errors import UndefinedError
from backend.stats import metrics
from backend.stats.splits import half_splits

LABELS = np.array([0, 0, 1, 1])
HAND = np.array([[[0.0, 0.0]], [[2.0, 0.0]], [[3.0, 4.0]], [[5.0, 8.0]]])  # one layer; means (1, 0) and (4, 6)
seeds = st.integers(0, 2**32 - 1)


def sample(seed: int, classes: int = 2, per_class: int = 6, layers: int = 3, width: int = 4):
    """Residuals with a class signal, float32 as they come from a model, and their labels in mixed order."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(classes), per_class))
    residuals = rng.normal(size=(len(labels), layers, width)) + rng.normal(size=(classes, layers, width))[labels]
    return residuals.astype(np.float32), labels


def rotate(residuals, seed: int):
    rotation = ortho_group.rvs(residuals.shape[-1], random_state=seed)
    return residuals @ rotation


# direction


def test_a_class_beyond_those_named_is_an_error():
    with pytest.raises(UndefinedError):
        metrics.directions(HAND, np.array([0, 0, 1, 2]), 2)


def test_the_direction_by_hand():
    np.testing.assert_allclose(metrics.directions(HAND, LABELS, 2), [[[3.0, 6.0]]])
    np.testing.assert_allclose(metrics.class_variances(HAND, LABELS, 2), [[2.0], [10.0]])
    np.testing.assert_allclose(metrics.unbiased_squared_norm(HAND, LABELS, 2), [[45 - 2 / 2 - 10 / 2]])
    np.testing.assert_allclose(metrics.norm_unbiased(HAND, LABELS, 2), [[np.sqrt(39)]])
    np.testing.assert_allclose(metrics.mean_norm(HAND), [(0 + 2 + 5 + np.sqrt(89)) / 4])
    np.testing.assert_allclose(metrics.relative(HAND, LABELS, 2), [[np.sqrt(45) * 4 / (7 + np.sqrt(89))]])
    np.testing.assert_allclose(metrics.within_class_variance(HAND, LABELS, 2), [6.0])
    np.testing.assert_allclose(metrics.separation(HAND, LABELS, 2), [[np.sqrt(39 / 6)]])


def test_three_classes_by_hand():
    residuals = np.array([[[0.0]], [[0.0]], [[3.0]], [[3.0]], [[9.0]], [[9.0]]])
    labels = np.repeat(np.arange(3), 2)
    assert metrics.directions(residuals, labels, 3).ravel().tolist() == [-6.0, -1.5, 7.5]


@given(seeds, st.integers(2, 4))
def test_the_direction_agrees_with_plain_loops(seed, classes):
    residuals, labels = sample(seed, classes)
    d = metrics.directions(residuals, labels, classes)
    t = metrics.unbiased_squared_norm(residuals, labels, classes)
    pooled = metrics.within_class_variance(residuals, labels, classes)
    for layer in range(residuals.shape[1]):
        x = residuals[:, layer].astype(np.float64)
        means = [x[labels == c].mean(axis=0) for c in range(classes)]
        traces = [np.trace(np.cov(x[labels == c].T)) for c in range(classes)]
        assert pooled[layer] == pytest.approx(np.mean(traces))
        for row in range(len(d)):
            own = row if classes > 2 else 1
            others = [c for c in range(classes) if c != own]
            expected = means[own] - np.mean([means[c] for c in others], axis=0)
            np.testing.assert_allclose(d[row, layer], expected, atol=1e-6)
            noise = traces[own] / 6 + sum(traces[c] for c in others) / 6 / len(others) ** 2
            assert t[row, layer] == pytest.approx(expected @ expected - noise, abs=1e-5)


def test_t_is_right_on_average_and_the_plain_norm_is_not():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [5, 9])
    draws = rng.normal(size=(14, 4000, 3)) * [1.0, 2.0, 0.5]  # 4,000 samples side by side, as layers
    draws[labels == 1] = draws[labels == 1] * 1.7 + [0.5, 0.0, 0.0]
    t = metrics.unbiased_squared_norm(draws, labels, 2)
    assert t.mean() == pytest.approx(0.25, abs=4 * t.std() / np.sqrt(4000))
    assert metrics.squared_norm(metrics.directions(draws, labels, 2)).mean() > 2


@given(seeds, st.floats(0.01, 100))
@settings(max_examples=30)
def test_shift_rotation_and_scale(seed, scale):
    residuals, labels = sample(seed)
    moved = scale * rotate(residuals.astype(np.float64), seed) + np.arange(4)
    for measure, power in (
        (metrics.unbiased_squared_norm, 2),
        (metrics.norm_unbiased, 1),
        (metrics.separation, 0),
        (metrics.noise, 2),
    ):
        expected = scale**power * measure(residuals, labels, 2)
        np.testing.assert_allclose(measure(moved, labels, 2), expected, rtol=1e-4, atol=2e-3 * scale**power)
    unmoved = scale * rotate(residuals.astype(np.float64), seed)
    np.testing.assert_allclose(metrics.relative(unmoved, labels, 2), metrics.relative(residuals, labels, 2), rtol=1e-5)


@given(seeds)
def test_swapping_the_classes_turns_the_direction_round(seed):
    residuals, labels = sample(seed)
    np.testing.assert_allclose(
        metrics.directions(residuals, 1 - labels, 2), -metrics.directions(residuals, labels, 2), atol=1e-12
    )
    assert (
        metrics.norm_unbiased(residuals, labels, 2) ** 2
        <= metrics.squared_norm(metrics.directions(residuals, labels, 2)) + 1e-12
    ).all()


def test_a_layer_without_text_has_norm_zero_and_no_ratio():
    residuals, labels = sample(1)
    residuals[:, 0] = residuals[0, 0]
    residuals[:, 1] = residuals[0, 1] * (1 + np.float32(5e-8) * np.arange(12)[:, None])
    assert metrics.constant_layers(residuals).tolist() == [True, True, False]
    assert (metrics.directions(residuals, labels, 2)[:, :2] == 0).all()
    assert (metrics.norm_unbiased(residuals, labels, 2)[:, :2] == 0).all()
    assert (metrics.relative(residuals, labels, 2)[:, :2] == 0).all()
    assert np.isnan(metrics.separation(residuals, labels, 2)[:, :2]).all()
    assert np.isnan(metrics.relative(np.zeros((4, 1, 2)), LABELS, 2)).all()


def test_a_class_of_one_review_has_no_variance():
    assert np.isnan(metrics.unbiased_squared_norm(HAND[:3], LABELS[:3], 2)).all()
    np.testing.assert_allclose(metrics.within_class_variance(HAND[:3], LABELS[:3], 2), [2.0])


# cosines


def test_cosine_by_hand():
    a, b = np.array([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]]), np.array([[4.0, 3.0], [-2.0, 0.0], [1.0, 1.0]])
    np.testing.assert_allclose(metrics.cosine(a, b), [24 / 25, -1.0, np.nan])


@given(seeds)
def test_review_cosine_is_the_mean_over_pairs(seed):
    residuals, _ = sample(seed)
    expected = [1 - pdist(residuals[:, layer].astype(np.float64), "cosine").mean() for layer in range(3)]
    np.testing.assert_allclose(metrics.review_cosine(residuals), expected, atol=1e-6)


def test_review_cosine_of_identical_reviews_is_one_and_of_none_undefined():
    np.testing.assert_allclose(metrics.review_cosine(np.ones((5, 1, 3))), [1.0])
    assert np.isnan(metrics.review_cosine(np.zeros((5, 1, 3)))).all()


def test_split_cosine_agrees_with_a_plain_loop():
    base, labels = sample(5, classes=3)
    checkpoint = sample(6, classes=3)[0] + base
    got = metrics.split_cosine(base, checkpoint, labels, 3, splits=7, seed=2)
    products = np.zeros((3, 3, 3))  # cross, base, checkpoint; directions; layers
    for a in half_splits(labels, 3, 7, seed=2):
        of = {
            (name, side): metrics.directions(x[half], labels[half], 3)
            for name, x in (("base", base), ("checkpoint", checkpoint))
            for side, half in (("a", a), ("b", ~a))
        }
        products[0] += (of["base", "a"] * of["checkpoint", "b"]).sum(axis=-1) / 2
        products[0] += (of["base", "b"] * of["checkpoint", "a"]).sum(axis=-1) / 2
        products[1] += (of["base", "a"] * of["base", "b"]).sum(axis=-1)
        products[2] += (of["checkpoint", "a"] * of["checkpoint", "b"]).sum(axis=-1)
    defined = (products[1] > 0) & (products[2] > 0)
    expected = np.where(defined, products[0] / np.sqrt(np.where(defined, products[1] * products[2], 1.0)), np.nan)
    assert defined.any()
    np.testing.assert_allclose(got, expected, rtol=1e-6)


def test_many_splits_approach_the_unbiased_product():
    """The mean over all half-splits of <d on A, d on B> is T: no review meets itself."""
    base, labels = sample(8, per_class=10)
    checkpoint = base + sample(9, per_class=10)[0]
    t = {name: metrics.unbiased_squared_norm(x, labels, 2) for name, x in (("b", base), ("c", checkpoint))}
    t_cross = (metrics.unbiased_squared_norm(base + checkpoint, labels, 2) - t["b"] - t["c"]) / 2
    got = metrics.split_cosine(base, checkpoint, labels, 2, splits=4000, seed=0)
    np.testing.assert_allclose(got, t_cross / np.sqrt(t["b"] * t["c"]), atol=0.03)


def test_split_cosine_is_one_with_itself_and_undefined_without_a_direction():
    base, labels = sample(5)
    base[:, 1] = 7.0
    got = metrics.split_cosine(base, 3 * base, labels, 2)
    np.testing.assert_allclose(got, [[1.0, np.nan, 1.0]], rtol=1e-6)
    assert np.isnan(metrics.split_cosine(HAND[:3], HAND[:3], LABELS[:3], 2)).all()


def test_split_cosine_is_not_inflated_by_reviews_that_both_models_saw():
    """Two models with unrelated directions and the same noise of the reviews: the plain cosine sees a third."""
    rng = np.random.default_rng(0)
    labels, shared = np.repeat([0, 1], 30), rng.normal(size=(60, 300, 50))
    base, checkpoint = shared.copy(), shared.copy()
    base[labels == 1, :, 0] += 2.5
    checkpoint[labels == 1, :, 1] += 2.5
    plain = metrics.cosine(metrics.directions(base, labels, 2), metrics.directions(checkpoint, labels, 2))
    assert plain.mean() > 0.3
    assert abs(np.nanmean(metrics.split_cosine(base, checkpoint, labels, 2))) < 0.04


def test_without_largest_drops_what_is_large_in_the_reference():
    residuals, _ = sample(2)
    reference = np.ones((3, 3, 4), dtype=np.float32)
    reference[:, 0, 2], reference[:, 1, 0], reference[:, 2, 3] = -9, 9, 9
    dropped = metrics.without_largest(residuals, reference, 1)
    assert [np.flatnonzero((dropped[:, layer] == 0).all(axis=0)).tolist() for layer in range(3)] == [[2], [0], [3]]
    assert (dropped == residuals).sum() == residuals.size * 3 // 4
    assert dropped.dtype == np.float32
    assert metrics.without_largest(residuals, reference, 0) is residuals
