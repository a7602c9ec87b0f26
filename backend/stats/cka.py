"""Representational similarity of two models: CKA, Procrustes and cosine, with their delete-one values.

Reviews are paired: row i of both matrices is the same review. All delete-one values together are exact and cost about
as much as the estimate itself, without refitting.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Float, Int

from backend.errors import UndefinedError
from backend.stats import metrics
from backend.stats.rotation import Rotated, lapack

FEWEST = 5
"""Minimum number of reviews for the delete-one values of debiased CKA."""
STEP, BELOW, ABOVE = 0.45, 23.0, 21.0
"""Quadrature of `_nuclear_changes`: step and reach in log t; the error is below 1e-8 of the norm."""

Other = Float[np.ndarray, "reviews other_rotated"]
Square = Float[np.ndarray, "reviews reviews"]
Report = Callable[[float], None]
Values = np.ndarray | np.floating | float
"""One value, or one per review."""


@dataclass(frozen=True, eq=False)
class Left:
    """An estimate, and its value without each of the reviews."""

    estimate: float
    without: Float[np.ndarray, " reviews"]


def enough(reviews: int) -> None:
    """Raise UndefinedError if there are too few reviews."""
    if reviews < FEWEST:
        raise UndefinedError(
            f"Similarity needs {FEWEST} texts, and the sample has {reviews}; raise dataset.sample in study.toml."
        )


# Centred kernel alignment


def gram(x: Rotated) -> Square:
    """Return the inner products of different reviews; the diagonal is zero."""
    products = x @ x.T
    np.fill_diagonal(products, 0.0)
    return products


def cka(k: Square, l: Square) -> Left:  # noqa: E741 - the letter of the literature
    """Compute debiased linear CKA of two `gram` matrices: 1 = same up to rotation and scale, about 0 = unrelated.

    HSIC_1(K, L) / sqrt(HSIC_1(K, K) HSIC_1(L, L)). An estimate, so it can lie below 0. NaN where either model does not
    vary. Kornblith et al. 2019, ICML; unbiased HSIC: Song et al. 2012, JMLR 13; Nguyen et al. 2021, ICLR.
    """
    cross, own, other = hsic(k, l), hsic(k, k), hsic(l, l)
    return Left(
        float(_alignment(cross.estimate, own.estimate, other.estimate)),
        _alignment(cross.without, own.without, other.without),
    )


def _alignment(cross: Values, own: Values, other: Values) -> np.ndarray:
    product = np.where((np.asarray(own) > 0) & (np.asarray(other) > 0), own * other, 0.0)
    return np.asarray(metrics.ratio(np.asarray(cross), np.asarray(np.sqrt(product))))


def hsic(k: Square, l: Square) -> Left:  # noqa: E741
    """Compute HSIC_1 of two kernels with zero diagonals. Song et al. 2012, JMLR 13, equation 5.

    Leaving a review out removes a row and a column from every sum, which is as fast as the sums themselves.
    """
    n = len(k)
    met, of_k, of_l = np.vecdot(k, l), k.sum(axis=1), l.sum(axis=1)
    total, sum_k, sum_l, ends = met.sum(), of_k.sum(), of_l.sum(), of_k @ of_l
    ends_without = ends - of_k * of_l - k @ of_l - l @ of_k + met
    return Left(
        float(_hsic(total, sum_k, sum_l, ends, n)),
        np.asarray(_hsic(total - 2 * met, sum_k - 2 * of_k, sum_l - 2 * of_l, ends_without, n - 1)),
    )


def _hsic(met: Values, sum_k: Values, sum_l: Values, ends: Values, n: int) -> Values:
    return (met + sum_k * sum_l / ((n - 1) * (n - 2)) - 2 / (n - 2) * ends) / (n * (n - 3))


def repaired_cka(k: Square, l: Square, orders: Int[np.ndarray, "draws reviews"]) -> Float[np.ndarray, " draws"]:  # noqa: E741
    """Compute CKA with the reviews of `l` in these orders: the null of unrelated reviews."""
    n, of_k, of_l = len(k), k.sum(axis=1), l.sum(axis=1)
    own, other = hsic(k, k).estimate, hsic(l, l).estimate
    met = np.array([np.vdot(k, l.take(order, 0).take(order, 1)) for order in orders])
    cross = _hsic(met, of_k.sum(), of_l.sum(), of_l[orders] @ of_k, n)
    return _alignment(cross, own, other)


# Procrustes


def procrustes(x: Rotated, y: Other) -> Left:
    """Compute 1 - |X'Y|_*^2 with X and Y of unit Frobenius norm: 0 = same up to rotation and scale, at most 1.

    The share of squared distance left by the best rotation, reflection and scale; |.|_* is the nuclear norm.
    Schönemann 1966, Psychometrika 31; Williams et al. 2021, NeurIPS (as a measure of representations).
    """
    dimensions = max(x.shape[1], y.shape[1])
    x, y = (np.pad(one, ((0, 0), (0, dimensions - one.shape[1]))) for one in (x, y))
    n, (u, s, v) = len(x), scipy.linalg.svd(x.T @ y, check_finite=False)
    squares, other_squares = metrics.squared_norm(x), metrics.squared_norm(y)
    grown = n / (n - 1)  # leaving out a review moves the mean of the others
    nuclear = s.sum() + _nuclear_changes(s, x @ u, y @ v.T, grown)
    size, other = squares.sum() - grown * squares, other_squares.sum() - grown * other_squares
    return Left(
        float(_disparity(s.sum(), squares.sum(), other_squares.sum())),
        _disparity(nuclear, size, other),
    )


def _disparity(nuclear: Values, size: Values, other: Values) -> np.ndarray:
    alike = metrics.ratio(np.asarray(np.square(nuclear)), np.asarray(size * other))
    return np.asarray(np.clip(1 - alike, 0.0, 1.0))


def _nuclear_changes(
    s: Float[np.ndarray, " rotated"],
    a: Float[np.ndarray, "reviews rotated"],
    b: Float[np.ndarray, "reviews rotated"],
    c: float,
) -> Float[np.ndarray, " reviews"]:
    """Compute |diag(s) - c a_i b_i'|_* - |diag(s)|_* for every i, without further decompositions.

    A root is an integral: sqrt(v') - sqrt(v) = 1/pi of log((v' + t^2) / (v + t^2)) over t > 0. Summed over the
    eigenvalues of M M', the integrand is the log of a ratio of determinants. The change has rank one, so this is the
    determinant of a 2 x 2 matrix: (1 - c beta)^2 + c^2 t^2 alpha gamma, with alpha, beta, gamma = sums over the
    dimensions of a^2, a b s and b^2, over s^2 + t^2. In log t the trapezoid rule converges exponentially.
    """
    largest = s.max(initial=0.0)
    if largest == 0:
        return np.zeros(len(a))
    t = np.exp(np.arange(np.log(largest) - BELOW, np.log(largest) + ABOVE, STEP))
    weights = 1 / (np.square(s)[:, None] + np.square(t))  # [rotated, t]
    alpha, gamma, beta = np.square(a) @ weights, np.square(b) @ weights, (a * b * s) @ weights
    ratio = np.square(1 - c * beta) + np.square(c * t) * alpha * gamma
    return np.log(np.maximum(ratio, np.finfo(np.float64).tiny)) @ t * STEP / np.pi


def repaired_procrustes(
    x: Rotated, y: Other, orders: Int[np.ndarray, "draws reviews"], report: Report = lambda _: None
) -> Float[np.ndarray, " draws"]:
    """Compute the Procrustes disparity with the reviews of `y` in these orders; `report` receives the share done."""
    size, other = np.square(x).sum(), np.square(y).sum()
    nuclear, products = np.empty(len(orders)), _products(x, y)
    for i, order in enumerate(orders):
        nuclear[i] = _sum_of_roots(products(order))
        report((i + 1) / len(orders))
    return _disparity(nuclear, size, other)


def _products(x: Rotated, y: Other) -> Callable[[Int[np.ndarray, " reviews"]], Float[np.ndarray, "n n"]]:
    """Return a function of an order that makes the lower half of M'M, M = X'Y with the reviews of `y` in the order.

    Its eigenvalues are the squared singular values of M. With about as many dimensions as reviews, L'(YY')L with the
    Cholesky factor L of XX' has the same ones, and LAPACK computes it faster than two products.
    """

    def of_dimensions(order: Int[np.ndarray, " reviews"]) -> np.ndarray:
        m = x.T @ y[order]
        return m.T @ m if m.shape[0] >= m.shape[1] else m @ m.T

    if min(x.shape[1], y.shape[1]) < len(x) - 1:
        return of_dimensions
    lower, pivots, rank, _ = lapack().dpstrf(x @ x.T, lower=1)
    factor = np.asfortranarray(np.tril(lower))
    factor[:, rank:] = 0.0
    other = y @ y.T

    def of_reviews(order: Int[np.ndarray, " reviews"]) -> np.ndarray:
        paired = order[pivots - 1]
        return lapack().dsygst(other.take(paired, 0).take(paired, 1).T, factor, itype=2, lower=1, overwrite_a=1)[0]

    return of_reviews


def _sum_of_roots(products: Float[np.ndarray, "n n"]) -> float:
    """Return the sum of the roots of the eigenvalues of a symmetric matrix; only its lower half is read.

    About half the time of singular values. Roots below 1e-8 of the largest are lost in rounding errors.
    """
    _, diagonal, beside, _, _ = lapack().dsytrd(products, lower=1, lwork=64 * len(products))
    squares = scipy.linalg.eigvalsh_tridiagonal(diagonal, beside, check_finite=False, lapack_driver="sterf")
    return float(np.sqrt(np.maximum(squares, 0.0)).sum())


ROWS = 4096
"""Rows of a large matrix converted to double precision at once."""


@dataclass(frozen=True)
class OfRows:
    """Mean cosine of the rows of two matrices, and their Procrustes disparity; exact, without an interval."""

    cosine: float
    procrustes: float


def of_rows(
    x: Float[np.ndarray, "rows width"],
    y: Float[np.ndarray, "rows width"],
    order: Int[np.ndarray, " rows"],
    report: Report = lambda _: None,
) -> OfRows:
    """Compare row i of `x` with row order[i] of `y`, chunk by chunk: a vocabulary has many rows."""
    means = [matrix.mean(axis=0, dtype=np.float64) for matrix in (x, y)]
    cross, sizes, cosines = np.zeros((x.shape[1], y.shape[1])), np.zeros(2), 0.0
    for start in range(0, len(x), ROWS):
        report(start / len(x))
        own, other = x[start : start + ROWS].astype(np.float64), y[order[start : start + ROWS]].astype(np.float64)
        cosines += np.nansum(metrics.cosine(own, other))
        own, other = own - means[0], other - means[1]
        cross += own.T @ other
        sizes += np.square(own).sum(), np.square(other).sum()
    nuclear = np.asarray(scipy.linalg.svdvals(cross, check_finite=False)).sum()
    return OfRows(float(cosines / len(x)), float(_disparity(nuclear, sizes[0], sizes[1])))


# Cosines


def repaired_cosine(
    x: Float[np.ndarray, "reviews width"],
    y: Float[np.ndarray, "reviews width"],
    orders: Int[np.ndarray, "draws reviews"],
) -> Float[np.ndarray, " draws"]:
    """Compute the mean cosine with the reviews of `y` in these orders."""
    inverse = [np.nan_to_num(metrics.ratio(np.ones(len(one)), np.sqrt(metrics.squared_norm(one)))) for one in (x, y)]
    cosines = (x @ y.T) * inverse[0][:, None] * inverse[1]
    return cosines[np.arange(len(x)), orders].mean(axis=1)
