"""Two-dimensional pictures: principal components with settled signs, t-SNE and UMAP, and how far to trust a map."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from backend import metrics
from backend.metrics import constant_layers


def pca(
    residuals: Float[np.ndarray, "reviews width"],
) -> tuple[Float[np.ndarray, " width"], Float[np.ndarray, "components=2 width"]]:
    """Mean and the two principal components (unit length, no settled sign: see `orient`).

    A component along which nothing varies is NaN, so both are where all reviews are identical. Pearson 1901.
    """
    x = residuals.astype(np.float64)
    mean = x.mean(axis=0)
    components = np.full((2, x.shape[1]), np.nan)
    if constant_layers(x[:, None]).all():
        return mean, components
    x -= mean
    tall = len(x) > x.shape[1]
    squares, vectors = np.linalg.eigh(x.T @ x if tall else x @ x.T)  # the smaller of the two Gram matrices
    for i, (square, vector) in enumerate(zip(squares[::-1][:2], vectors.T[::-1][:2], strict=True)):
        if square > 1e-12 * squares[-1]:
            components[i] = vector if tall else vector @ x / np.sqrt(square)
    return mean, components


def orient(
    components: Float[np.ndarray, "components=2 width"], direction: Float[np.ndarray, " width"]
) -> Float[np.ndarray, "components=2 width"]:
    """The same components with signs that belong to the basis: `direction` (the base's d) points right and up.

    A component at right angles to it has its largest loading positive.
    """
    along = components @ direction
    largest = components[np.arange(2), np.abs(components).argmax(axis=1)]
    clear = np.abs(along) > 1e-9 * np.sqrt(direction @ direction)
    return components * np.where(np.where(clear, along, largest) < 0, -1.0, 1.0)[:, None]


def project(
    residuals: Float[np.ndarray, "reviews width"],
    mean: Float[np.ndarray, " width"],
    components: Float[np.ndarray, "components=2 width"],
) -> Float[np.ndarray, "reviews components=2"]:
    """Coordinates of the residuals around `mean`. A direction, being a difference, is `components @ d` instead."""
    return (residuals - mean) @ components.T


def explained(
    residuals: Float[np.ndarray, "reviews width"], components: Float[np.ndarray, "components=2 width"]
) -> Float[np.ndarray, "components=2"]:
    """Share of the residuals' own total variance along each component, 0..1; NaN where nothing varies."""
    if constant_layers(residuals[:, None]).all():
        return np.full(2, np.nan)
    x = residuals - residuals.mean(axis=0, dtype=np.float64)
    return np.square(x @ components.T).sum(axis=0) / np.square(x).sum()


def places(
    residuals: Float[np.ndarray, "*places layers width"],
    sample: metrics.Residuals,
    labels: metrics.Labels,
    classes: int,
) -> Float[np.ndarray, "*places layers directions"]:
    """Where residuals stand along the class direction of a sample, in units of the distance of the class means.

    0 is the mean of class 0 and 1 that of class 1; with more classes 1 is the mean of the direction's class and 0 the
    mean of the other class means. NaN at constant layers, which have no direction.
    """
    d = metrics.directions(sample, labels, classes)
    start = np.tensordot(-np.minimum(0.0, metrics.contrasts(classes)), metrics.class_means(sample, labels, classes), 1)
    along = np.einsum("...lw,clw->...lc", residuals, d) - np.vecdot(start, d).T
    return metrics.ratio(along, metrics.squared_norm(d).T)


Method = Literal["tsne", "umap"]
Points = Float[np.ndarray, "points width"]
Positions = Float[np.ndarray, "points 2"]
Watch = Callable[[float, str], None]

JITTER = 0.05
"""How far a continued fit moves its start at random, as a share of the start's spread."""
EXACT, INTERPOLATED = 3000, 10_000
"""Points up to which t-SNE takes exact neighbours, beyond annoy's; points from which it interpolates repulsion."""
RANKED = 1000
"""Points whose neighbourhoods `trustworthiness` looks at, evenly spaced, where there are more than EXACT."""


@dataclass(frozen=True)
class Fit:
    """How to place points: the method and what it needs to know. `watch` hears of t-SNE's progress and may raise."""

    method: Method
    seed: int
    perplexity: float
    neighbours: int

    def first(self, points: Points, watch: Watch | None = None) -> Positions:
        """A map from the first two principal components."""
        mean, components = pca(points)
        return self._place(points, np.nan_to_num(project(points, mean, components)), True, self.seed, watch)

    def settled(self, points: Points, start: Positions, watch: Watch | None = None) -> Positions:
        """`start` refined once, so that what a continued fit always does to a map has been done to it."""
        return self._place(points, start, False, self.seed + 1, watch)

    def continued(self, points: Points, start: Positions, watch: Watch | None = None) -> Positions:
        """A map that starts from the positions of another."""
        return self._place(points, start, False, self.seed + 2, watch)

    def _place(self, points: Points, start: Positions, first: bool, seed: int, watch: Watch | None) -> Positions:
        centred = points - points.mean(axis=0, dtype=np.float64)
        start = start - start.mean(axis=0, dtype=np.float64)
        start = start + np.random.default_rng(seed).normal(0.0, JITTER * start.std(), start.shape)
        if self.method == "tsne":
            return _tsne(centred, start, first, min(self.perplexity, (len(start) - 1) / 3), seed, watch)
        return _umap(centred, start, first, min(self.neighbours, len(start) - 1), seed)


def _tsne(
    points: Points, start: Positions, first: bool, perplexity: float, seed: int, watch: Watch | None
) -> Positions:
    """openTSNE on one thread. van der Maaten and Hinton 2008; Linderman et al. 2019; Policar et al. 2024."""
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN

    near = PerplexityBasedNN(
        points,
        perplexity,  # pyright: ignore[reportArgumentType] (any positive number will do)
        method="exact" if len(points) <= EXACT else "annoy",
        n_jobs=1,
        random_state=seed,
    )
    # a tiny start unfolds (Kobak and Berens 2019); a continued one is shrunk less, so that it does not forget
    start = start * ((1e-4 if first else 1.0) / start[:, 0].std())
    gradient = "bh" if len(points) < INTERPOLATED else "fft"
    placed = TSNEEmbedding(start, near, negative_gradient_method=gradient, n_jobs=1, random_state=seed)
    if first:
        watched = _watched(watch, 0, 750)
        placed.optimize(n_iter=250, exaggeration=12, momentum=0.5, inplace=True, **watched)
    watched = _watched(watch, 250, 750) if first else _watched(watch, 0, 500)
    placed.optimize(n_iter=500, momentum=0.8, inplace=True, **watched)
    return np.array(placed)


def _watched(watch: Watch | None, done: int, total: int) -> dict[str, Any]:
    """What has openTSNE report every 25 iterations; whatever `watch` raises ends the fit."""
    if watch is None:
        return {}

    def report(iteration: int, _error: float, _embedding: np.ndarray) -> None:
        watch((done + iteration) / total, f"Placing points: step {done + iteration} of {total}.")

    return {"callbacks": report, "callbacks_every_iters": 25}


def _umap(points: Points, start: Positions, first: bool, neighbours: int, seed: int) -> Positions:
    """umap-learn on one thread. McInnes, Healy and Melville 2018."""
    # umap-learn tells of a part that wants tensorflow; a standing filter, because jobs are threads and share filters
    warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
    from umap import UMAP

    space = UMAP(
        n_neighbors=neighbours,
        init=start.astype(np.float32),  # pyright: ignore[reportArgumentType] (an array is documented)
        learning_rate=1.0 if first else 0.05,
        random_state=seed,
        n_jobs=1,
    )
    return np.asarray(space.fit_transform(points.astype(np.float32)), dtype=np.float64)


def drift(xy: Float[np.ndarray, "reviews 2"], other: Float[np.ndarray, "reviews 2"]) -> float:
    """How far points moved between two maps: root mean square displacement over that of the radius of the first.

    Both maps are centred first, because a shift of the whole map means nothing. NaN if the first is a single spot.
    """
    xy, other = (one - one.mean(axis=0, dtype=np.float64) for one in (xy, other))
    radius = np.square(xy).sum()
    return float(np.sqrt(np.square(other - xy).sum() / radius)) if radius > 0 else float("nan")


def trustworthiness(points: Points, xy: Positions, neighbours: int = 15) -> float:
    """Are neighbours in the map neighbours among the points? 1: all are; about 0.5: a map drawn at random.

    `neighbours` is lowered where there are too few points for it; NaN below four. Of more than EXACT points, the
    neighbourhoods of RANKED are looked at. Venna and Kaski 2001.
    """
    n = len(xy)
    k = min(neighbours, (n - 1) // 2)
    if n < 4:
        return float("nan")
    chosen = np.arange(n) if n <= EXACT else np.linspace(0, n - 1, RANKED).astype(np.int64)
    size = max(1, 2**24 // n)
    intruders = 0
    for some in np.split(chosen, range(size, len(chosen), size)):
        ranks = _distances(points, some).argsort(axis=1, kind="stable").argsort(axis=1)  # 0 is the point itself
        nearest = _distances(xy, some).argsort(axis=1, kind="stable")[:, 1 : k + 1]
        intruders += np.maximum(0, np.take_along_axis(ranks, nearest, axis=1) - k).sum()
    return float(1 - 2 * intruders / (len(chosen) * k * (2 * n - 3 * k - 1)))


def _distances(x: Points, some: Int[np.ndarray, " some"]) -> Float[np.ndarray, "some points"]:
    """Squared distances from some points to all, -1 from a point to itself so that it comes first."""
    x = x - x.mean(axis=0, dtype=np.float64)
    squares = np.square(x).sum(axis=1)
    distances = np.maximum(0.0, squares[some][:, None] + squares - 2 * x[some] @ x.T)
    distances[np.arange(len(some)), some] = -1.0
    return distances
