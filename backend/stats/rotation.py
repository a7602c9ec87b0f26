"""Rotate residuals into at most as many dimensions as there are reviews, which keeps every inner product.

Whatever depends on inner products only (norms, cosines, CKA, Procrustes, resamples of them) then costs
reviews x reviews instead of reviews x width.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy
from jaxtyping import Float

Rotated = Float[np.ndarray, "reviews rotated"]


def lapack() -> Any:
    """Return SciPy's LAPACK, whose routines its types do not list; it is loaded on use, as it delays the first page."""
    return scipy.linalg.lapack


def rotated(x: Float[np.ndarray, "reviews width"]) -> Rotated:
    """Centre and rotate the residuals of one layer."""
    x = x - x.mean(axis=0, dtype=np.float64)
    return x if x.shape[1] <= len(x) else factor(x @ x.T)


def jointly(x: Float[np.ndarray, "reviews width"], y: Float[np.ndarray, "reviews width"]) -> tuple[Rotated, Rotated]:
    """Centre each of two models and rotate both alike, which keeps the inner products between them too."""
    both = np.concatenate([one - one.mean(axis=0, dtype=np.float64) for one in (x, y)])
    if both.shape[1] > len(both):
        both = factor(both @ both.T)
    return both[: len(x)], both[len(x) :]


def factor(products: Float[np.ndarray, "reviews reviews"]) -> Rotated:
    """Return coordinates with these inner products, right to rounding errors of the largest one.

    A Cholesky factor with pivots: centred reviews, and copies of a text, are linearly dependent. Reviews that are all
    zero keep one dimension.
    """
    lower, pivots, rank, _ = lapack().dpstrf(products, lower=1)
    dimensions = max(1, rank)
    coordinates = np.zeros((len(products), dimensions))
    coordinates[pivots - 1, :rank] = np.tril(lower)[:, :rank]
    return coordinates
