"""Length of a mean vector from sums over groups of texts: unbiased, with interval, and a floor from random halves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Float, Int

from backend.stats import metrics
from backend.stats.estimate import Estimate
from backend.stats.resampling import LEVEL, TAILS

Totals = Float[np.ndarray, "groups *places width"]
Counts = Int[np.ndarray, "groups *places"]


@dataclass(frozen=True, eq=False)
class Products:
    """Inner products of the sums of groups, and how many vectors each sums, at every place."""

    inner: Float[np.ndarray, "*places groups groups"]
    count: Float[np.ndarray, "*places groups"]

    @classmethod
    def of(cls, total: Totals, count: Counts) -> Products:
        """Return the products of sums [groups, places, width] of so many vectors [groups, places]."""
        vectors = np.moveaxis(total.astype(np.float64), 0, -2)
        return cls(vectors @ np.swapaxes(vectors, -1, -2), np.moveaxis(count.astype(np.float64), 0, -1))


def squared_length(products: Products) -> tuple[Float[np.ndarray, "*places"], Float[np.ndarray, "*places groups"]]:
    """Return the unbiased squared length of the mean vector, and the same without each group; NaN if undefined.

    The mean of <x, y> over vectors x and y of different groups: a vector's product with itself, which lengthens the
    plain mean, is left out.
    """
    inner, count = products.inner, products.count
    own, squares = np.diagonal(inner, axis1=-2, axis2=-1), np.square(count)
    rows, total = inner.sum(axis=-1), inner.sum(axis=(-2, -1))
    pairs = np.square(count.sum(axis=-1)) - squares.sum(axis=-1)
    value = metrics.ratio(total - own.sum(axis=-1), pairs)
    left = (total - own.sum(axis=-1))[..., None] - 2 * (rows - own)
    left_pairs = pairs[..., None] - 2 * count * (count.sum(axis=-1, keepdims=True) - count)
    return value, metrics.ratio(left, left_pairs)


def length(total: Totals, count: Counts, scale: Float[np.ndarray, "*places"]) -> Estimate[np.ndarray]:
    """Return the length of the mean vector over `scale`, with a delete-a-group jackknife interval; NaN if undefined.

    The interval is that of the unbiased squared length (Student's t with groups - 1 degrees of freedom), clipped at 0
    and rooted. Tukey 1958; Efron and Stein 1981, Annals of Statistics 9.
    """
    value, without = squared_length(Products.of(total, count))
    groups = len(total)
    deviations = without - without.mean(axis=-1, keepdims=True)
    error = np.sqrt((groups - 1) / groups * np.square(deviations).sum(axis=-1))
    half = scipy.special.stdtrit(max(1, groups - 1), TAILS[1]) * error
    return Estimate(*(metrics.ratio(np.sqrt(np.maximum(end, 0)), scale) for end in (value, value - half, value + half)))


def floor(
    total: Totals, count: Counts, scale: Float[np.ndarray, "*places"], halvings: int, seed: int
) -> Float[np.ndarray, "*places"]:
    """Return half the distance between the means of two random halves of the groups, over `scale`: its 95 % quantile.

    A mean vector of this length can come from the choice of texts alone.
    """
    products = Products.of(total, count)
    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(halvings):
        first = np.zeros(len(total), dtype=bool)
        first[rng.permutation(len(total))[: len(total) // 2]] = True
        halves = [np.where(half, 1.0, 0.0) for half in (first, ~first)]
        weights = [metrics.ratio(half, (products.count @ half)[..., None]) for half in halves]
        apart = weights[0] - weights[1]
        draws.append(np.einsum("...g,...gh,...h->...", apart, products.inner, apart))
    distance = np.sqrt(np.maximum(draws, 0)) / 2
    return metrics.ratio(np.quantile(distance, LEVEL, axis=0), scale)
