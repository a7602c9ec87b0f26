"""Principal components, neighbours and trustworthiness against scikit-learn, drift by hand, fits that are left."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.decomposition import PCA
from sklearn.manifold import trustworthiness

from backend import projections
from backend.errors import Cancelled

seeds = st.integers(0, 2**32 - 1)
CROSS = np.array([[3.0, 0.0, 1.0], [-3.0, 0.0, 1.0], [0.0, 2.0, 1.0], [0.0, -2.0, 1.0]])


def test_components_by_hand():
    mean, components = projections.pca(CROSS)
    right_up = projections.orient(components, np.array([1.0, 1.0, 0.0]))
    np.testing.assert_allclose(mean, [0, 0, 1])
    np.testing.assert_allclose(right_up, [[1, 0, 0], [0, 1, 0]], atol=1e-12)
    np.testing.assert_allclose(projections.project(CROSS, mean, right_up), CROSS[:, :2], atol=1e-12)
    np.testing.assert_allclose(projections.explained(CROSS, right_up), [18 / 26, 8 / 26])


def test_signs_belong_to_the_basis():
    plus = np.array([[0.6, 0.8], [-0.8, 0.6]])
    for components in (plus, -plus):
        np.testing.assert_allclose(projections.orient(components, np.array([-1.0, 0.0])), [[-0.6, -0.8], [-0.8, 0.6]])
        at_right_angles = projections.orient(components, np.array([0.6, 0.8]))  # the second: largest loading positive
        np.testing.assert_allclose(at_right_angles, [[0.6, 0.8], [0.8, -0.6]])
        np.testing.assert_allclose(projections.orient(components, np.zeros(2)), [[0.6, 0.8], [0.8, -0.6]])


@given(seeds, st.sampled_from([(6, 20), (20, 6), (40, 3)]))
def test_components_agree_with_scikit_learn(seed, shape):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=shape) * np.arange(1, shape[1] + 1) + 100).astype(np.float32)
    mean, components = projections.pca(x)
    reference = PCA(2, svd_solver="full").fit(x.astype(np.float64))
    np.testing.assert_allclose(np.abs(np.vecdot(components, np.asarray(reference.components_))), 1.0, rtol=1e-6)
    np.testing.assert_allclose(projections.explained(x, components), reference.explained_variance_ratio_, rtol=1e-5)
    d = rng.normal(size=shape[1])
    assert (projections.orient(components, d) @ d >= 0).all()
    np.testing.assert_allclose(projections.project(x, mean, components).mean(axis=0), 0, atol=1e-4)


def test_a_layer_without_text_has_no_components():
    mean, components = projections.pca(np.full((5, 3), 2.0))
    assert mean.tolist() == [2, 2, 2]
    assert np.isnan(components).all()
    assert np.isnan(projections.orient(components, np.zeros(3))).all()
    assert np.isnan(projections.explained(np.full((5, 3), 2.0), components)).all()


def test_a_line_has_one_component():
    x = np.outer(np.arange(5.0), [3.0, 4.0, 0.0])
    _, components = projections.pca(x)
    np.testing.assert_allclose(np.abs(components[0]), [0.6, 0.8, 0.0], atol=1e-12)
    assert np.isnan(components[1]).all()
    np.testing.assert_allclose(projections.explained(x, components), [1.0, np.nan])


def test_places_between_class_means_by_hand():
    sample = np.array([[[0.0, 0.0]], [[2.0, 0.0]], [[1.0, 4.0]], [[1.0, 6.0]]])  # means (1, 0) and (1, 5)
    labels = np.array([0, 0, 1, 1])
    x = np.array([[[1.0, 0.0]], [[-7.0, 5.0]], [[1.0, 2.5]], [[0.0, 10.0]]])
    np.testing.assert_allclose(projections.places(x, sample, labels, 2)[:, 0, 0], [0, 1, 0.5, 2])
    assert np.isnan(projections.places(x, np.ones((4, 1, 2)), labels, 2)).all(), "a constant layer has no direction"


@given(seeds, st.integers(2, 5))
def test_the_class_means_stand_at_zero_and_one(seed, classes):
    rng = np.random.default_rng(seed)
    sample, labels = rng.normal(size=(6 * classes, 3, 8)), np.arange(6 * classes) % classes
    means = np.stack([sample[labels == c].mean(axis=0) for c in range(classes)])
    places = projections.places(means, sample, labels, classes)
    for c in range(places.shape[-1]):
        one_is = 1 if classes == 2 else c
        others = [k for k in range(classes) if k != one_is]
        np.testing.assert_allclose(places[one_is, :, c], 1)
        np.testing.assert_allclose(places[others, :, c].mean(axis=0), 0, atol=1e-9)
    shifted = projections.places(means + 3, sample + 3, labels, classes)
    np.testing.assert_allclose(shifted, places, atol=1e-9)


def test_drift_by_hand():
    square = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert projections.drift(square, square + 7) == 0
    assert projections.drift(square, -square) == pytest.approx(2.0)
    assert projections.drift(square, 1.5 * square) == pytest.approx(0.5)
    assert np.isnan(projections.drift(np.ones((4, 2)), square))


@given(seeds, st.integers(5, 40), st.integers(1, 15))
def test_trustworthiness_agrees_with_scikit_learn(seed, n, neighbours):
    rng = np.random.default_rng(seed)
    x, xy = rng.normal(size=(n, 6)), rng.normal(size=(n, 2))
    k = min(neighbours, (n - 1) // 2)
    got = projections.trustworthiness(x, xy, neighbours)
    assert got == pytest.approx(trustworthiness(x, xy, n_neighbors=k))
    assert projections.trustworthiness(xy, xy, neighbours) == 1.0
    assert np.isnan(projections.trustworthiness(x[:3], xy[:3]))


def test_trustworthiness_of_many_looks_at_some(monkeypatch):
    rng = np.random.default_rng(0)
    x, xy = rng.normal(size=(300, 6)), rng.normal(size=(300, 2))
    x[:, :2] += 2 * xy
    every = projections.trustworthiness(x, xy)
    monkeypatch.setattr(projections, "ALL", 200)
    monkeypatch.setattr(projections, "RANKED", 300)
    assert projections.trustworthiness(x, xy) == pytest.approx(every)
    monkeypatch.setattr(projections, "RANKED", 100)
    assert projections.trustworthiness(x, xy) == pytest.approx(every, abs=0.03)


def test_neighbours_are_exact_and_oneself_comes_first(monkeypatch):
    monkeypatch.setattr(projections, "AT_ONCE", 7)
    x = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32) + 100
    x[5:9] = x[4]  # five in one place
    heard = []
    near = projections.nearest(x, 3, lambda fraction, _: heard.append(fraction))
    assert heard == [i * 7 / 40 for i in range(6)]
    assert near.index[:, 0].tolist() == list(range(40))
    far = np.linalg.norm(x[:, None].astype(np.float64) - x, axis=2)
    np.testing.assert_allclose(near.distance, np.sort(far, axis=1)[:, :4], atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(far, near.index, axis=1), near.distance, atol=1e-5)
    assert all(len(set(row)) == 4 for row in near.index[9:].tolist())


@pytest.mark.parametrize("points", [60, 1200])
def test_affinities_are_those_of_open_tsne(points):
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    x = np.random.default_rng(0).normal(size=(points, 20)).astype(np.float32)
    near = projections.Fit("tsne", 0, 15.0, 15).near(x)
    known = PrecomputedNeighbors(near.index[:, 1:], near.distance[:, 1:].astype(np.float64))
    ours, theirs = (
        csr_array(one.P).toarray()
        for one in (PerplexityBasedNN(perplexity=15, knn_index=known), PerplexityBasedNN(x, 15, method="exact"))
    )
    np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=1e-9)


@pytest.mark.timeout(600)  # umap-learn compiles itself at first use
@pytest.mark.parametrize("method", ["tsne", "umap"])
def test_a_fit_tells_how_far_it_is_and_can_be_left_anywhere(method):
    x = np.random.default_rng(0).normal(size=(90, 8)).astype(np.float32)
    heard: list[tuple[float, str]] = []
    fit = projections.Fit(method, 0, 20.0, 10)
    xy, floor = fit.reference(x, lambda *said: heard.append(said))
    assert np.isfinite(xy).all()
    assert floor > 0
    fractions = [fraction for fraction, _ in heard]
    assert fractions == sorted(fractions)
    phases = {sentence.split(":")[0] for _, sentence in heard}
    assert len(phases) == 4, "neighbours, first map, settling, second fit"
    assert sum("step" in sentence for _, sentence in heard) > 5
    for phase in phases:

        def leave(_fraction: float, sentence: str, phase: str = phase) -> None:
            if sentence.startswith(phase):
                raise Cancelled("Cancelled.")

        with pytest.raises(Cancelled):
            fit.reference(x, leave)
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(fit.reference, x).result(timeout=120)  # a fit that was left holds up no other thread
    np.testing.assert_array_equal(again[0], xy)
