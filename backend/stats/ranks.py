"""Ordered labels: cross-validated ridge regression, rank correlation with its interval, direction of a value."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from backend.errors import UndefinedError
from backend.stats.splits import Groups

_Z = 1.959963984540054
Values = Float[np.ndarray, "targets reviews"]


def random_folds(reviews: int, groups: Groups | None, count: int, seed: int) -> Int[np.ndarray, " reviews"]:
    """Return the fold of each review, 0..count-1, in random order; copies of a text share a fold.

    Raises UndefinedError for fewer than two different texts per fold.
    """
    keys, place = np.unique(np.arange(reviews) if groups is None else groups, return_inverse=True)
    if len(keys) < 2 * count:
        raise UndefinedError(f"{len(keys)} different texts are too few for {count} folds; raise dataset.sample.")
    fold = np.empty(len(keys), np.int64)
    fold[np.random.default_rng(seed).permutation(len(keys))] = np.arange(len(keys)) % count
    return fold[place]


def held_out(x: Float[np.ndarray, "reviews width"], y: Values, fold_of: Int[np.ndarray, " reviews"]) -> Values:
    """Return ridge predictions of each target for reviews that were not fitted, without the intercept.

    Features are standardized on the fitted reviews. The penalty is the number of features that vary, which is the mean
    eigenvalue of the standardized Gram matrix: it does not depend on the targets, so all of them cost one
    decomposition. An intercept would carry the mean of the other folds, which is lower the higher this fold is.
    """
    found = np.empty_like(y, dtype=np.float64)
    for fold in range(fold_of.max() + 1):
        test = fold_of == fold
        mean, spread = x[~test].mean(axis=0), x[~test].std(axis=0)
        kept = spread > 0
        train, other = ((x[rows][:, kept] - mean[kept]) / spread[kept] for rows in (~test, test))
        centred = y[:, ~test] - y[:, ~test].mean(axis=1, keepdims=True)
        penalty = max(1, int(kept.sum()))
        if len(train) > train.shape[1]:  # the same predictions, from the smaller of both products
            products = train.T @ train + penalty * np.eye(train.shape[1])
            found[:, test] = np.linalg.solve(products, train.T @ centred.T).T @ other.T
        else:
            products = train @ train.T + penalty * np.eye(len(train))
            found[:, test] = np.linalg.solve(products, centred.T).T @ train @ other.T
    return found


def spearman(predicted: Values, y: Values) -> Float[np.ndarray, " targets"]:
    """Return the rank correlation of each pair of rows, -1..1, with average ranks for ties; NaN for a constant row."""
    from scipy.stats import rankdata  # on use: it delays the first page

    ranks = [rankdata(rows, axis=1) for rows in (predicted, y)]
    centred = [rows - rows.mean(axis=1, keepdims=True) for rows in ranks]
    size = np.sqrt((centred[0] ** 2).sum(axis=1) * (centred[1] ** 2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(size > 0, (centred[0] * centred[1]).sum(axis=1) / size, np.nan)


def spearman_interval(rho: np.ndarray, texts: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 95 % interval of rank correlations over so many different texts; NaN below four.

    Fisher's transformation with the variance (1 + rho^2 / 2) / (n - 3): Bonett and Wright 2000, Psychometrika 65.
    """
    if texts < 4:
        return np.full_like(rho, np.nan), np.full_like(rho, np.nan)
    with np.errstate(divide="ignore"):
        middle, spread = np.arctanh(rho), _Z * np.sqrt((1 + rho**2 / 2) / (texts - 3))
    return np.tanh(middle - spread), np.tanh(middle + spread)


def slope(
    residuals: Float[np.ndarray, "reviews layers width"], values: Float[np.ndarray, " reviews"]
) -> Float[np.ndarray, "layers width"]:
    """Return the change of the mean residual per standard deviation of the value: least squares in one value.

    With two equally frequent values it is half of the difference of their means.
    """
    z = (values - values.mean()) / values.std()
    return np.einsum("r,rlw->lw", z, residuals.astype(np.float64)) / len(values)
