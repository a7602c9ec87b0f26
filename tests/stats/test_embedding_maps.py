"""Neighbours and trustworthiness against scikit-learn, drift by hand, fits that are left."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.manifold import trustworthiness

from backend.errors import Cancelled
from backend.stats import embedding_maps

seeds = st.integers(0, 2**32 - 1)
CROSS = np.array([[3.0, 0.0, 1.0], [-3.0, 0.0, 1.0], [0.0, 2.0, 1.0], [0.0, -2.0, 1.0]])


def test_drift_by_hand():
    square = np.array([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]])
    assert embedding_maps.drift(square, square + 7) == 0
    assert embedding_maps.drift(square, -square) == pytest.approx(2.0)
    assert embedding_maps.drift(square, 1.5 * square) == pytest.approx(0.5)
    assert np.isnan(embedding_maps.drift(np.ones((4, 2)), square))


@given(seeds, st.integers(5, 40), st.integers(1, 15))
def test_trustworthiness_agrees_with_scikit_learn(seed, n, neighbours):
    rng = np.random.default_rng(seed)
    x, xy = rng.normal(size=(n, 6)), rng.normal(size=(n, 2))
    k = min(neighbours, (n - 1) // 2)
    got = embedding_maps.trustworthiness(x, xy, neighbours)
    assert got == pytest.approx(trustworthiness(x, xy, n_neighbors=k))
    assert embedding_maps.trustworthiness(xy, xy, neighbours) == 1.0
    assert np.isnan(embedding_maps.trustworthiness(x[:3], xy[:3]))


def test_trustworthiness_of_many_looks_at_some(monkeypatch):
    rng = np.random.default_rng(0)
    x, xy = rng.normal(size=(300, 6)), rng.normal(size=(300, 2))
    x[:, :2] += 2 * xy
    every = embedding_maps.trustworthiness(x, xy)
    monkeypatch.setattr(embedding_maps, "ALL", 200)
    monkeypatch.setattr(embedding_maps, "RANKED", 300)
    assert embedding_maps.trustworthiness(x, xy) == pytest.approx(every)
    monkeypatch.setattr(embedding_maps, "RANKED", 100)
    assert embedding_maps.trustworthiness(x, xy) == pytest.approx(every, abs=0.03)


def test_neighbours_are_exact_and_oneself_comes_first(monkeypatch):
    monkeypatch.setattr(embedding_maps, "AT_ONCE", 7)
    x = np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32) + 100
    x[5:9] = x[4]  # five in one place
    reports = []
    near = embedding_maps.nearest(x, 3, lambda fraction, _: reports.append(fraction))
    assert reports == [i * 7 / 40 for i in range(6)]
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
    near = embedding_maps.Fit("tsne", 0, 15.0, 15).near(x)
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
    reports: list[tuple[float, str]] = []
    fit = embedding_maps.Fit(method, 0, 20.0, 10)
    xy, floor = fit.reference(x, lambda *report: reports.append(report))
    assert np.isfinite(xy).all()
    assert floor > 0
    fractions = [fraction for fraction, _ in reports]
    assert fractions == sorted(fractions)
    phases = {sentence.split(":")[0] for _, sentence in reports}
    assert len(phases) == 4, "neighbours, first map, settling, second fit"
    assert sum("step" in sentence for _, sentence in reports) > 5
    for phase in phases:

        def leave(_fraction: float, sentence: str, phase: str = phase) -> None:
            if sentence.startswith(phase):
                raise Cancelled("Cancelled.")

        with pytest.raises(Cancelled):
            fit.reference(x, leave)
    with ThreadPoolExecutor(1) as pool:
        again = pool.submit(fit.reference, x).result(timeout=120)  # a fit that was left holds up no other thread
    np.testing.assert_array_equal(again[0], xy)
