"""Similarity of two models by the distances between reviews: Spearman of distances, and Gromov-Wasserstein."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from backend.stats.cka import Left

Distances = Float[np.ndarray, "reviews reviews"]
_POT_BACKENDS = ("PYTORCH", "JAX", "CUPY", "TENSORFLOW")


def distances(x: Float[np.ndarray, "reviews width"]) -> Distances:
    """Return Euclidean distances between reviews over their mean, which removes the scale of the stream."""
    from scipy.spatial.distance import pdist, squareform  # on use: it delays the first page

    apart = squareform(pdist(x.astype(np.float64)))
    return apart * (apart.size - len(apart)) / apart.sum()


def rank_correlation(a: Distances, b: Distances, report: Callable[[float], None] = lambda _: None) -> Left:
    """Compute Spearman's correlation of the distances of all pairs (representational similarity analysis), -1..1.

    Delete-one values rank the remaining distances again; `report` receives the share done. Kriegeskorte et al. 2008,
    Frontiers in Systems Neuroscience 2.
    """
    pairs = np.triu_indices(len(a), 1)
    first, second = (np.unique(distances_of[pairs], return_inverse=True)[1] for distances_of in (a, b))
    without = np.empty(len(a))
    for i in range(len(a)):
        report(i / len(a))
        kept = (pairs[0] != i) & (pairs[1] != i)
        without[i] = _correlation(_ranks(first[kept]), _ranks(second[kept]))
    return Left(_correlation(_ranks(first), _ranks(second)), without)


def repaired_rank_correlation(
    a: Distances, b: Distances, orders: Int[np.ndarray, "draws reviews"]
) -> Float[np.ndarray, " draws"]:
    """Compute Spearman's correlation with the reviews of `b` in these orders."""
    pairs = np.triu_indices(len(a), 1)
    first, second = (_ranks(np.unique(distances_of[pairs], return_inverse=True)[1]) for distances_of in (a, b))
    ranks = np.zeros_like(b)
    ranks[pairs] = second
    ranks += ranks.T
    return np.array([_correlation(first, ranks[order[pairs[0]], order[pairs[1]]]) for order in orders])


def _ranks(group: Int[np.ndarray, " pairs"]) -> Float[np.ndarray, " pairs"]:
    """Return centred mean ranks of values given by their index among the distinct values: no need to sort again."""
    size = np.bincount(group)
    return (size.cumsum() - (size + 1) / 2)[group] - (len(group) - 1) / 2


def _correlation(a: Float[np.ndarray, " pairs"], b: Float[np.ndarray, " pairs"]) -> float:
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 0 else float("nan")


def gromov_wasserstein(a: Distances, b: Distances) -> tuple[float, float]:
    """Return the squared Gromov-Wasserstein distance of two sets of reviews, and that of the uniform coupling.

    The least mean squared difference of distances over all matchings of the reviews: 0 if some matching keeps every
    distance. The problem has many local optima; the solver starts from the true pairs and from the uniform coupling,
    and the smallest value is returned. Memoli 2011,
    Foundations of Computational Mathematics 11; solver: POT (Flamary et al. 2021, JMLR 22).
    """
    for name in _POT_BACKENDS:  # POT would import every installed backend
        os.environ.setdefault(f"POT_BACKEND_DISABLE_{name}", "1")
    from ot.gromov import gromov_wasserstein2

    share = np.full(len(a), 1 / len(a))
    everyone = float((np.square(a).mean() + np.square(b).mean()) - 2 * a.mean() * b.mean())
    starts = (np.eye(len(a)) / len(a), np.outer(share, share))
    candidates = [float(np.asarray(gromov_wasserstein2(a, b, share, share, G0=start))) for start in starts]
    return max(0.0, min(*candidates, everyone)), everyone
