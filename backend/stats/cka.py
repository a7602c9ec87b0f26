"""Representational similarity of two models: CKA, Procrustes and cosine, with their delete-one values.

Reviews are paired: row i of both matrices is the same review. All delete-one values together are exact and cost about
as much as the estimate itself, without refitting.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

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

PRODUCTS = 1 << 24
"""Inner products held at once: 128 MiB."""

Other = Float[np.ndarray, "reviews other_rotated"]
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


@dataclass(frozen=True, eq=False)
class Kernel:
    """The inner products of different reviews, without the matrix: `sizes` is its diagonal, which counts as zero."""

    x: Rotated
    sizes: Float[np.ndarray, " reviews"]
    sums: Float[np.ndarray, " reviews"]

    @classmethod
    def of(cls, x: Rotated) -> Kernel:
        """Sum the inner products of each review with the others."""
        sizes = metrics.squared_norm(x)
        return cls(x, sizes, x @ x.sum(axis=0) - sizes)

    def times(self, vector: Float[np.ndarray, " reviews"]) -> Float[np.ndarray, " reviews"]:
        """Multiply a vector by the matrix."""
        return self.x @ (self.x.T @ vector) - self.sizes * vector

    def rows(self, part: slice) -> Float[np.ndarray, "part reviews"]:
        """Return some rows of the matrix."""
        products = self.x[part] @ self.x.T
        np.fill_diagonal(products[:, part], 0.0)
        return products


def _met(
    kernels: Sequence[Kernel], others: Sequence[Kernel], report: Report = lambda _: None
) -> tuple[Float[np.ndarray, "a b reviews"], Float[np.ndarray, "a reviews"], Float[np.ndarray, "b reviews"]]:
    """Return row sums of products of kernels, entry by entry: of each with each other one, and of each with itself.

    Some rows at a time: the kernels of many reviews do not fit into memory.
    """
    n = len(kernels[0].x)
    cross, own, other = (
        np.empty((*sides, n)) for sides in ((len(kernels), len(others)), (len(kernels),), (len(others),))
    )
    step = max(1, PRODUCTS // (n * (len(kernels) + len(others))))
    for start in range(0, n, step):
        report(start / n)
        part = slice(start, start + step)
        k, l = (np.stack([one.rows(part) for one in side]) for side in (kernels, others))  # noqa: E741
        cross[..., part] = np.moveaxis(k.transpose(1, 0, 2) @ l.transpose(1, 2, 0), 0, -1)
        own[:, part], other[:, part] = np.vecdot(k, k), np.vecdot(l, l)
    return cross, own, other


def cka(x: Rotated, y: Other) -> Left:
    """Compute debiased linear CKA: 1 = same up to rotation and scale, about 0 = unrelated.

    HSIC_1(K, L) / sqrt(HSIC_1(K, K) HSIC_1(L, L)). An estimate, so it can lie below 0. NaN where either model does not
    vary. Kornblith et al. 2019, ICML; unbiased HSIC: Song et al. 2012, JMLR 13; Nguyen et al. 2021, ICLR.
    """
    return crossed([x], [y])[0][0]


def crossed(xs: Sequence[Any], ys: Sequence[Any], report: Report = lambda _: None) -> list[list[Left]]:
    """Compute CKA of each of `xs` with each of `ys`, all [reviews, rotated]; `report` receives the share done."""
    kernels, others = ([Kernel.of(x) for x in side] for side in (xs, ys))
    cross, own_met, other_met = _met(kernels, others, report)
    own = [_hsic(met, kernel, kernel) for met, kernel in zip(own_met, kernels, strict=True)]
    other = [_hsic(met, kernel, kernel) for met, kernel in zip(other_met, others, strict=True)]

    def alike(a: int, b: int) -> Left:
        of = _hsic(cross[a, b], kernels[a], others[b])
        return Left(
            float(_alignment(of.estimate, own[a].estimate, other[b].estimate)),
            _alignment(of.without, own[a].without, other[b].without),
        )

    return [[alike(a, b) for b in range(len(ys))] for a in range(len(xs))]


def _alignment(cross: Values, own: Values, other: Values) -> np.ndarray:
    product = np.where((np.asarray(own) > 0) & (np.asarray(other) > 0), own * other, 0.0)
    return np.asarray(metrics.ratio(np.asarray(cross), np.asarray(np.sqrt(product))))


def _hsic(met: Float[np.ndarray, " reviews"], k: Kernel, l: Kernel) -> Left:  # noqa: E741
    """Compute HSIC_1 of two kernels whose products have these row sums. Song et al. 2012, JMLR 13, equation 5.

    Leaving a review out removes a row and a column from every sum, which is as fast as the sums themselves.
    """
    n, total, sum_k, sum_l, ends = len(met), met.sum(), k.sums.sum(), l.sums.sum(), k.sums @ l.sums
    ends_without = ends - k.sums * l.sums - k.times(l.sums) - l.times(k.sums) + met
    return Left(
        float(_of_sums(total, sum_k, sum_l, ends, n)),
        np.asarray(_of_sums(total - 2 * met, sum_k - 2 * k.sums, sum_l - 2 * l.sums, ends_without, n - 1)),
    )


def _of_sums(met: Values, sum_k: Values, sum_l: Values, ends: Values, n: int) -> Values:
    return (met + sum_k * sum_l / ((n - 1) * (n - 2)) - 2 / (n - 2) * ends) / (n * (n - 3))


# Procrustes, and both with reviews paired at random


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


def repaired(
    x: Rotated, y: Other, orders: Int[np.ndarray, "draws reviews"]
) -> tuple[Float[np.ndarray, " draws"], Float[np.ndarray, " draws"]]:
    """Return CKA and Procrustes with the reviews of `y` in these orders."""
    k, l = Kernel.of(x), Kernel.of(y)  # noqa: E741
    _, own, other = _met([k], [l])
    own, other = _hsic(own[0], k, k).estimate, _hsic(other[0], l, l).estimate
    total, nuclear, products = np.empty(len(orders)), np.empty(len(orders)), _products(x, y)
    for i, order in enumerate(orders):
        total[i], symmetric = products(order)
        nuclear[i] = _sum_of_roots(symmetric)
    total -= l.sizes[orders] @ k.sizes
    cross = _of_sums(total, k.sums.sum(), l.sums.sum(), l.sums[orders] @ k.sums, len(x))
    return _alignment(cross, own, other), _disparity(nuclear, k.sizes.sum(), l.sizes.sum())


def _products(x: Rotated, y: Other) -> Callable[[Int[np.ndarray, " reviews"]], tuple[float, Float[np.ndarray, "n n"]]]:
    """Return a function of an order that makes |M|^2 and the lower half of M'M, M = X'Y with the reviews of `y` in it.

    The eigenvalues of M'M are the squared singular values of M. With about as many dimensions as reviews, L'(YY')L with
    the Cholesky factor L of XX' has the same ones, and LAPACK computes it faster than two products.
    """

    def of_dimensions(order: Int[np.ndarray, " reviews"]) -> tuple[float, np.ndarray]:
        m = x.T @ y[order]
        return float(np.vdot(m, m)), m.T @ m if m.shape[0] >= m.shape[1] else m @ m.T

    if min(x.shape[1], y.shape[1]) < len(x) - 1:
        return of_dimensions
    own = x @ x.T
    lower, pivots, rank, _ = lapack().dpstrf(own, lower=1)
    factor = np.asfortranarray(np.tril(lower))
    factor[:, rank:] = 0.0
    own = own.take(pivots - 1, 0).take(pivots - 1, 1)
    other = y @ y.T

    def of_reviews(order: Int[np.ndarray, " reviews"]) -> tuple[float, np.ndarray]:
        paired = order[pivots - 1]
        taken = other.take(paired, 0).take(paired, 1)
        squares = float(np.vdot(own, taken))
        return squares, lapack().dsygst(taken.T, factor, itype=2, lower=1, overwrite_a=1)[0]

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


def repaired_cosine(
    x: Float[np.ndarray, "reviews width"],
    y: Float[np.ndarray, "reviews width"],
    orders: Int[np.ndarray, "draws reviews"],
) -> Float[np.ndarray, " draws"]:
    """Compute the mean cosine with the reviews of `y` in these orders."""
    units = [
        one * np.nan_to_num(metrics.ratio(np.ones(len(one)), np.sqrt(metrics.squared_norm(one))))[:, None]
        for one in (x, y)
    ]
    total = np.zeros(len(orders))
    for start in range(0, len(x), ROWS):
        cosines = units[0][start : start + ROWS] @ units[1].T
        total += cosines[np.arange(len(cosines)), orders[:, start : start + ROWS]].sum(axis=1)
    return total / len(x)
