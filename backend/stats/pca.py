"""Principal components with fixed signs, and the place of residuals between the class means."""

from __future__ import annotations

import numpy as np
import scipy
from jaxtyping import Float

from backend.stats import metrics
from backend.stats.metrics import constant_layers

MANY = 10
"""Reviews per dimension above which the eigenvectors of the covariance are faster than Lanczos iterations."""


def pca(
    residuals: Float[np.ndarray, "reviews width"],
) -> tuple[Float[np.ndarray, " width"], Float[np.ndarray, "components=2 width"]]:
    """Return the mean and the first two principal components (unit length; `orient` fixes the signs).

    A component without variance is NaN; if all reviews are identical, both are. Pearson 1901.
    """
    from sklearn.decomposition import PCA  # on use: it delays the first page

    x = residuals.astype(np.float64)
    mean, components = x.mean(axis=0), np.full((2, x.shape[1]), np.nan)
    if constant_layers(residuals[:, None]).all():
        return mean, components
    count = min(2, *x.shape)
    solver = "arpack" if min(x.shape) > count else "full"  # Lanczos needs more rows and columns than components
    if len(x) > MANY * x.shape[1]:
        solver, x = "covariance_eigh", x - mean  # centred first: the solver subtracts large squares otherwise
    try:
        fit = PCA(count, svd_solver=solver, random_state=0).fit(x)
    except scipy.sparse.linalg.ArpackNoConvergence:  # two components of nearly the same variance
        fit = PCA(count, svd_solver="full").fit(x)
    variances = np.asarray(fit.explained_variance_)
    varies = variances > 1e-12 * variances[0]
    components[:count][varies] = np.asarray(fit.components_)[varies]
    return mean, components


def orient(
    components: Float[np.ndarray, "components=2 width"], direction: Float[np.ndarray, " width"]
) -> Float[np.ndarray, "components=2 width"]:
    """Fix the signs of the components: `direction` (a class direction) points right and up.

    A component orthogonal to it has a positive largest loading.
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
    """Return the coordinates of the residuals around `mean`. For a direction, a difference, use `components @ d`."""
    return (residuals - mean) @ components.T


def explained(
    residuals: Float[np.ndarray, "reviews width"], components: Float[np.ndarray, "components=2 width"]
) -> Float[np.ndarray, "components=2"]:
    """Return the share of the residuals' own total variance along each component, 0..1; NaN without variance."""
    if constant_layers(residuals[:, None]).all():
        return np.full(2, np.nan)
    x = residuals - residuals.mean(axis=0, dtype=np.float64)
    return np.square(x @ components.T).sum(axis=0) / np.vdot(x, x)


def places(
    residuals: Float[np.ndarray, "*places layers width"],
    sample: metrics.Residuals,
    labels: metrics.Labels,
    classes: int,
) -> Float[np.ndarray, "*places layers directions"]:
    """Return the place of residuals along a sample's class direction, in units of the distance of the class means.

    0 is the mean of class 0 and 1 that of class 1; with more classes 1 is the mean of the direction's class and 0 the
    mean of the other class means. NaN at constant layers.
    """
    d = metrics.directions(sample, labels, classes)
    start = np.tensordot(-np.minimum(0.0, metrics.contrasts(classes)), metrics.class_means(sample, labels, classes), 1)
    along = np.einsum("...lw,clw->...lc", residuals, d) - np.vecdot(start, d).T
    return metrics.ratio(along, metrics.squared_norm(d).T)
