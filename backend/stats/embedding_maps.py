"""Maps by t-SNE and UMAP that continue from one another, and measures of how far to trust them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Float32, Int

from backend.caching.progress import Progress, silent
from backend.caching.turns import steady
from backend.errors import LayershiftError
from backend.stats.pca import pca, project

Method = Literal["tsne", "umap"]
Points = Float[np.ndarray, "points width"]
Positions = Float[np.ndarray, "points 2"]

JITTER = 0.05
"""Random displacement of the start of a continued fit, as a share of the start's spread."""
INTERPOLATED = 10_000
"""Number of points from which t-SNE interpolates the repulsion."""
AT_ONCE = 4096
"""Points per chunk of the neighbour search; progress is reported between chunks."""
ALL, RANKED = 3000, 1000
"""`trustworthiness` uses all neighbourhoods up to ALL points, and RANKED evenly spaced ones beyond."""


@dataclass(frozen=True, eq=False)
class Neighbours:
    """The centred points, and the nearest points of each by distance, the point itself first."""

    points: Float32[np.ndarray, "points width"]
    index: Int[np.ndarray, "points nearest"]
    distance: Float32[np.ndarray, "points nearest"]


def nearest(points: Points, count: int, watch: Progress = silent) -> Neighbours:
    """Find `count` exact neighbours of every point with scikit-learn; time grows with the square of the points."""
    from sklearn.neighbors import NearestNeighbors

    centred = (points - points.mean(axis=0, dtype=np.float64)).astype(np.float32)
    space = NearestNeighbors(n_neighbors=count + 1, algorithm="brute").fit(centred)
    index = np.empty((len(centred), count + 1), dtype=np.int64)
    distance = np.empty(index.shape, dtype=np.float32)
    for start in range(0, len(centred), AT_ONCE):
        watch(start / len(centred), f"Finding neighbours: point {start:,} of {len(centred):,}.")
        chunk = slice(start, start + AT_ONCE)
        far, neighbours = space.kneighbors(centred[chunk])
        own = np.arange(start, start + len(neighbours))
        order = np.argsort(neighbours != own[:, None], axis=1, kind="stable")
        index[chunk], distance[chunk] = (np.take_along_axis(values, order, axis=1) for values in (neighbours, far))
        index[chunk, 0], distance[chunk, 0] = (
            own,
            0.0,
        )  # a point with many duplicates may be missing among its neighbours
    return Neighbours(centred, index, distance)


@dataclass(frozen=True)
class Fit:
    """The method to place points with, and its settings; both numbers are lowered for few points.

    `perplexity` is for t-SNE, `neighbours` (including the point itself) for UMAP. `watch` receives the progress and may
    raise to end a fit (UMAP raises after its steps).
    """

    method: Method
    seed: int
    perplexity: float
    neighbours: int

    def near(self, points: Points, watch: Progress = silent) -> Neighbours:
        """Find the neighbours for a fit of these points; several fits may share them."""
        others = len(points) - 1
        count = min(int(3 * self.perplexity), others) if self.method == "tsne" else min(self.neighbours, others) - 1
        return nearest(points, count, watch)

    def first(self, near: Neighbours, watch: Progress = silent) -> Positions:
        """Fit a map that starts from the first two principal components."""
        mean, components = pca(near.points)
        return self._place(near, np.nan_to_num(project(near.points, mean, components)), True, self.seed, watch)

    def reference(self, points: Points, watch: Progress = silent) -> tuple[Float32[np.ndarray, "points 2"], float]:
        """Fit the map that others continue; return it with the noise floor, the `drift` of a second fit.

        The map is continued once itself, so that the effect of continuing alone is part of it.
        """
        near = self.near(points, _span(watch, 0.0, 0.125))
        xy = self.first(near, _span(watch, 0.125, 0.5, "A first map: "))
        settling = _span(watch, 0.5, 0.75, "Settling the map: ")
        xy = self._place(near, xy, False, self.seed + 1, settling).astype(np.float32)
        again = _span(watch, 0.75, 1.0, "A second fit for the noise floor: ")
        return xy, drift(xy, self._place(near, xy, False, self.seed + 2, again))

    def continued(self, points: Points, start: Positions, watch: Progress = silent) -> Positions:
        """Fit a map that starts from the positions of another."""
        near = self.near(points, _span(watch, 0.0, 0.33))
        return self._place(near, start, False, self.seed + 2, _span(watch, 0.33, 1.0, "Continuing the map: "))

    def _place(self, near: Neighbours, start: Positions, first: bool, seed: int, watch: Progress) -> Positions:
        start = start - start.mean(axis=0, dtype=np.float64)
        start = start + np.random.default_rng(seed).normal(0.0, JITTER * start.std(), start.shape)
        if self.method == "tsne":
            return _tsne(near, start, first, min(self.perplexity, (len(start) - 1) / 3), seed, watch)
        return _umap(near, start, first, seed, watch)


def _span(watch: Progress, start: float, end: float, what: str = "") -> Progress:
    """Return a progress callback for the share of the work from `start` to `end`, with a prefix."""
    return lambda fraction, sentence: watch(start + (end - start) * fraction, what + sentence)


def _steps(watch: Progress, done: int, total: int) -> None:
    watch(min(1.0, done / total), f"step {done} of {total}.")


def _tsne(near: Neighbours, start: Positions, first: bool, perplexity: float, seed: int, watch: Progress) -> Positions:
    """Run openTSNE on one thread. van der Maaten and Hinton 2008; Linderman et al. 2019; Policar et al. 2024."""
    from openTSNE import TSNEEmbedding
    from openTSNE.affinity import PerplexityBasedNN
    from openTSNE.nearest_neighbors import PrecomputedNeighbors

    knn = PrecomputedNeighbors(near.index[:, 1:], near.distance[:, 1:].astype(np.float64))
    affinities = PerplexityBasedNN(perplexity=perplexity, knn_index=knn, n_jobs=1)  # pyright: ignore[reportArgumentType] (any positive number will do)
    # a tiny start unfolds (Kobak and Berens 2019); a continued start is shrunk less, to keep its positions
    start = start * ((1e-4 if first else 1.0) / start[:, 0].std())
    gradient = "bh" if len(start) < INTERPOLATED else "fft"
    placed = TSNEEmbedding(start, affinities, negative_gradient_method=gradient, n_jobs=1, random_state=seed)
    early = 250 if first else 0
    _steps(watch, 0, early + 500)
    for before, steps, how in ((0, early, {"exaggeration": 12, "momentum": 0.5}), (early, 500, {"momentum": 0.8})):
        if steps:
            callback = _reporting(watch, before, early + 500)
            callbacks: dict[str, Any] = {"callbacks_every_iters": 25, "callbacks": callback}
            placed.optimize(n_iter=steps, inplace=True, **how, **callbacks)
    return np.array(placed)


def _reporting(watch: Progress, before: int, total: int) -> Callable[[int, float, np.ndarray], None]:
    """Return the callback that openTSNE calls regularly."""
    return lambda iteration, _error, _embedding: _steps(watch, before + iteration, total)


class _Bar:
    """File that receives the counts of umap-learn's progress bar, its only report of progress.

    While it writes, tqdm holds a lock that every fit needs: the job is not parked there, and an error of the watcher is
    kept until the fit is over, because tqdm would not release the lock.
    """

    def __init__(self, watch: Progress, total: int) -> None:
        self.watch, self.total = watch, total
        self.raised: LayershiftError | None = None

    def write(self, text: str) -> None:
        """Receive a count of epochs, or characters that clear the line."""
        if text.strip().isdigit() and self.raised is None:
            try:
                with steady():
                    _steps(self.watch, int(text), self.total)
            except LayershiftError as error:
                self.raised = error

    def flush(self) -> None:
        """Do nothing."""


def _umap(near: Neighbours, start: Positions, first: bool, seed: int, watch: Progress) -> Positions:
    """Run umap-learn on one thread. McInnes, Healy and Melville 2018."""
    # umap-learn warns about its tensorflow part; a permanent filter, because job threads share filters
    warnings.filterwarnings("ignore", "Tensorflow not installed", ImportWarning)
    warnings.filterwarnings("ignore", "precomputed_knn.*is not an NNDescent object", UserWarning)
    from umap import UMAP

    bar = _Bar(watch, 500 if len(start) <= 10_000 else 200)  # epochs as umap-learn chooses them
    space = UMAP(
        n_neighbors=near.index.shape[1],
        n_epochs=bar.total,
        init=start.astype(np.float32),  # pyright: ignore[reportArgumentType] (an array is documented)
        learning_rate=1.0 if first else 0.05,
        precomputed_knn=(near.index, near.distance),
        random_state=seed,
        n_jobs=1,
        tqdm_kwds={"disable": False, "file": bar, "bar_format": "{n}", "miniters": 1},
    )
    placed = np.asarray(space.fit_transform(near.points), dtype=np.float64)
    if bar.raised is not None:
        raise bar.raised
    return placed


def drift(xy: Float[np.ndarray, "reviews 2"], other: Float[np.ndarray, "reviews 2"]) -> float:
    """Return the root mean square displacement between two maps over the root mean square radius of the first.

    Both maps are centred first, because a shift of the whole map has no meaning. NaN if the first is a single point.
    """
    xy, other = (positions - positions.mean(axis=0, dtype=np.float64) for positions in (xy, other))
    radius = np.square(xy).sum()
    return float(np.sqrt(np.square(other - xy).sum() / radius)) if radius > 0 else float("nan")


def trustworthiness(points: Points, xy: Positions, neighbours: int = 15) -> float:
    """Measure how many neighbours in the map are neighbours among the points: 1 all, about 0.5 for a random map.

    `neighbours` is lowered for few points; NaN below four. Above ALL points, RANKED neighbourhoods are used. Venna and
    Kaski 2001.
    """
    n = len(xy)
    k = min(neighbours, (n - 1) // 2)
    if n < 4:
        return float("nan")
    chosen = np.arange(n) if n <= ALL else np.linspace(0, n - 1, RANKED).astype(np.int64)
    size = max(1, 2**24 // n)
    intruders = 0
    for chunk in np.split(chosen, range(size, len(chosen), size)):
        far = _distances(points, chunk)  # the point itself comes first
        on_map = np.argpartition(_distances(xy, chunk), k, axis=1)[:, : k + 1]
        for distance in np.take_along_axis(far, on_map, axis=1).T:
            intruders += np.maximum(0, (far < distance[:, None]).sum(axis=1) - k).sum()
    return float(1 - 2 * intruders / (len(chosen) * k * (2 * n - 3 * k - 1)))


def _distances(x: Points, chosen: Int[np.ndarray, " chosen"]) -> Float[np.ndarray, "chosen points"]:
    """Return squared distances from the chosen points to all; -1 from a point to itself, so that it comes first."""
    x = x - x.mean(axis=0, dtype=np.float64)
    squares = np.square(x).sum(axis=1)
    distances = np.maximum(0.0, squares[chosen][:, None] + squares - 2 * x[chosen] @ x.T)
    distances[np.arange(len(chosen)), chosen] = -1.0
    return distances
