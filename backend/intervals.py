"""The one home of 95 % intervals and chance levels; docs/intervals.md says where each comes from and how it was tested.

Intervals are (low, high). Those of a norm are for the norm of the population that the reviews were drawn from: noise
makes the plain norm of a sample too long, so it can lie above its own interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped
from scipy.special import ndtri, stdtrit

from backend import metrics
from backend.metrics import Labels, Lens, PerLayer, Residuals

LEVEL = 0.95
Counts = Shaped[np.ndarray, "draws reviews"]
Values = Float[np.ndarray, "..."]
Interval = tuple[Values, Values]

# Proportions


def wilson(successes: Shaped[np.ndarray, "..."], n: Shaped[np.ndarray, "..."]) -> Interval:
    """Score interval of a proportion, within 0..1; NaN where n is 0. Wilson 1927, JASA 22."""
    z = ndtri((1 + LEVEL) / 2)
    successes, n = np.asarray(successes, dtype=np.float64), np.asarray(n, dtype=np.float64)
    share = metrics.ratio(successes, n)
    n = np.where(n > 0, n, 1.0)
    centre = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(share * (1 - share) / n + (z / (2 * n)) ** 2)
    low = np.where(share == 0, 0.0, centre - half)
    return low, np.where(share == 1, 1.0, centre + half)


def mover(
    estimates: Float[np.ndarray, "... parts"],
    low: Float[np.ndarray, "... parts"],
    high: Float[np.ndarray, "... parts"],
    weights: Float[np.ndarray, " parts"],
) -> Interval:
    """Interval of sum(weights * estimates) from those of its independent parts, over the last axis.

    Weights 1/C give a mean, (1, -1) a difference. Zou and Donner 2008, Statistics in Medicine 27 (method of variance
    estimates recovery); for two proportions Newcombe 1998, Statistics in Medicine 17, method 10.
    """
    middle = estimates @ weights
    down, up = np.where(weights > 0, (estimates - low, high - estimates), (high - estimates, estimates - low))
    return tuple(
        np.asarray(middle + sign * np.sqrt(np.square(weights * arm).sum(axis=-1)))
        for sign, arm in ((-1, down), (1, up))
    )


def balanced_accuracy_interval(
    recalls: Float[np.ndarray, " classes"], sizes: Int[np.ndarray, " classes"]
) -> tuple[float, float]:
    """Interval of the mean of the recalls of `sizes` reviews each: MOVER from Wilson limits, within 0..1."""
    low, high = mover(recalls, *wilson(recalls * sizes, sizes), np.full(len(recalls), 1 / len(recalls)))
    return max(0.0, float(low)), min(1.0, float(high))


# Means, AUC, gap


def bootstrap_counts(labels: Labels, draws: int, seed: int) -> Int[np.ndarray, "draws reviews"]:
    """How often each review is in each stratified resample: every class keeps its size."""
    rng = np.random.default_rng(seed)
    counts = np.zeros((draws, len(labels)), dtype=np.int64)
    for c in np.unique(labels):
        members = np.flatnonzero(labels == c)
        counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=draws)
    return counts


def bootstrap(statistic: Callable[[Counts], np.ndarray], labels: Labels, draws: int = 1000, seed: int = 0) -> Interval:
    """Percentile interval of `statistic`, which maps counts [draws, reviews] to values [draws, ...].

    Stratified by class. Efron 1979, Annals of Statistics 7. Not for norms, nor for statistics of pairs of reviews.
    """
    return percentiles(statistic(bootstrap_counts(labels, draws, seed)))


def percentiles(values: Float[np.ndarray, "draws ..."]) -> Interval:
    """The middle 95 % over the first axis."""
    low, high = np.quantile(values, ((1 - LEVEL) / 2, (1 + LEVEL) / 2), axis=0)
    return np.asarray(low), np.asarray(high)


def auc_interval(lens: Lens, labels: Labels, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Interval of `metrics.auc`."""
    low, high = bootstrap(lambda counts: metrics.aucs(lens, labels, counts), labels, draws, seed)
    return float(low), float(high)


def gap_interval(lens: Lens, labels: Labels, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Interval of `metrics.gap`."""
    low, high = bootstrap(lambda counts: metrics.gaps(lens, labels, counts), labels, draws, seed)
    return float(low), float(high)


def mean_interval(
    values: Float[np.ndarray, "reviews ..."], labels: Labels, draws: int = 1000, seed: int = 0
) -> Interval:
    """Interval of the mean over reviews, class sizes held fixed; of `metrics.mean_lens` when given the lens."""
    return bootstrap(lambda counts: np.tensordot(counts / len(labels), values, axes=1), labels, draws, seed)


# Statistics of pairs of reviews


def jackknife(statistic: Callable[[Int[np.ndarray, " kept"]], np.ndarray], labels: Labels) -> Interval:
    """Delete-one interval of `statistic`, which maps the indices of the reviews kept to values of any shape.

    For CKA, Procrustes and the like: a bootstrap repeats reviews, and a review is too similar to itself. Stratified
    by `labels` (all equal: one stratum), Student's t with reviews - strata degrees of freedom. Tukey 1958.
    """
    everyone = np.arange(len(labels))
    without = np.stack([np.asarray(statistic(np.delete(everyone, i))) for i in everyone])
    return jackknife_interval(np.asarray(statistic(everyone)), without, labels)


def jackknife_interval(estimate: Values, without: Float[np.ndarray, "reviews ..."], labels: Labels) -> Interval:
    """The interval around `estimate`, given its value without each of the reviews."""
    variance = np.zeros(estimate.shape)
    strata = np.unique(labels)
    for c in strata:
        values = without[labels == c]
        variance += (len(values) - 1) / len(values) * np.square(values - values.mean(axis=0)).sum(axis=0)
    half = stdtrit(max(1, len(labels) - len(strata)), (1 + LEVEL) / 2) * np.sqrt(variance)
    return estimate - half, estimate + half


# The direction


@dataclass(frozen=True, eq=False)
class DirectionIntervals:
    """Intervals of the population's norm, norm over mean norm, and separation, each [directions, layers]."""

    norm: tuple[PerLayer, PerLayer]
    relative: tuple[PerLayer, PerLayer]
    separation: tuple[PerLayer, PerLayer]


def direction_intervals(
    residuals: Residuals, labels: Labels, classes: int, draws: int = 1000, seed: int = 0
) -> DirectionIntervals:
    """Basic bootstrap of T = norm^2 without its noise, of T / mean norm^2 and of T / within-class variance.

    A resample is drawn from the sample, where the squared norm is the plug-in one, so its errors are T* - norm^2:
    the interval is [T - q.975(T* - norm^2), T - q.025(T* - norm^2)], clipped at 0 and rooted (0 at constant layers;
    relative and separation are NaN where they are). Davison and Hinkley 1997, section 5.2.
    """
    counts = bootstrap_counts(labels, draws, seed).astype(np.float64)
    everyone = np.ones((1, len(labels)))
    sizes = metrics.class_sizes(labels, classes)[:, None]
    freedom = np.asarray(float(len(labels) - classes))
    squared_contrasts = np.square(metrics.contrasts(classes))
    norms = metrics.review_norms(residuals)
    low = np.full((3, len(squared_contrasts), residuals.shape[1]), np.nan)
    low[0] = 0.0
    high = low.copy()
    for layer, x in varying(residuals):
        squared, spread = _moments(x, labels, classes, everyone)
        drawn_squared, drawn_spread = _moments(x, labels, classes, counts)
        t = squared - squared_contrasts @ metrics.ratio(spread, sizes - 1.0)
        drawn_t = drawn_squared - squared_contrasts @ metrics.ratio(drawn_spread, sizes - 1.0)
        mean_norm = norms[:, layer].mean()
        estimate = np.stack([t, t / mean_norm**2, metrics.ratio(t, (sizes * spread).sum(axis=0) / freedom)])
        truth = np.stack(
            [squared, squared / mean_norm**2, metrics.ratio(squared, ((sizes - 1) * spread).sum(axis=0) / freedom)]
        )
        drawn = np.stack(
            [
                drawn_t,
                drawn_t / np.square(counts @ norms[:, layer] / len(labels)),
                metrics.ratio(drawn_t, (sizes * drawn_spread).sum(axis=0) / freedom),
            ]
        )
        below, above = percentiles(np.moveaxis(drawn - truth, -1, 0))
        low[..., layer] = np.sqrt(np.maximum(0.0, estimate[..., 0] - above))
        high[..., layer] = np.sqrt(np.maximum(0.0, estimate[..., 0] - below))
    norm, relative, separation = zip(low, high, strict=True)
    return DirectionIntervals(norm, relative, separation)


def norm_interval(
    residuals: Residuals, labels: Labels, classes: int, draws: int = 1000, seed: int = 0
) -> tuple[PerLayer, PerLayer]:
    """Interval of the population's norm of the direction, for `norm` and `norm_unbiased` alike."""
    return direction_intervals(residuals, labels, classes, draws, seed).norm


def relative_interval(
    residuals: Residuals, labels: Labels, classes: int, draws: int = 1000, seed: int = 0
) -> tuple[PerLayer, PerLayer]:
    """Interval of the population's norm over its mean norm of the residuals."""
    return direction_intervals(residuals, labels, classes, draws, seed).relative


def separation_interval(
    residuals: Residuals, labels: Labels, classes: int, draws: int = 1000, seed: int = 0
) -> tuple[PerLayer, PerLayer]:
    """Interval of the population's separation."""
    return direction_intervals(residuals, labels, classes, draws, seed).separation


def varying(residuals: Residuals) -> Iterator[tuple[int, Float[np.ndarray, "reviews rotated"]]]:
    """Each layer that is not constant, centred and rotated into at most as many dimensions as there are reviews.

    Rotation keeps every distance and inner product between reviews, all that norms and spreads depend on, so that
    resampling costs reviews x reviews and not reviews x width.
    """
    for layer in np.flatnonzero(~metrics.constant_layers(residuals)):
        x = residuals[:, layer] - residuals[:, layer].mean(axis=0, dtype=np.float64)
        yield int(layer), x if x.shape[1] <= len(x) else np.transpose(np.linalg.qr(x.T, mode="r"))


def _moments(
    x: Float[np.ndarray, "reviews rotated"], labels: Labels, classes: int, counts: Float[np.ndarray, "draws reviews"]
) -> tuple[Float[np.ndarray, "directions draws"], Float[np.ndarray, "classes draws"]]:
    """Of each resample: squared norm of each direction, and mean squared distance to the class mean of each class."""
    means, spreads = [], []
    for c in range(classes):
        share = counts[:, labels == c] / (labels == c).sum()
        mean = share @ x[labels == c]
        means.append(mean)
        spreads.append(share @ metrics.squared_norm(x[labels == c]) - metrics.squared_norm(mean))
    directions = (
        sum(weight * mean for weight, mean in zip(row, means, strict=True)) for row in metrics.contrasts(classes)
    )
    return np.stack([metrics.squared_norm(d) for d in directions]), np.maximum(0.0, spreads)


# Chance


def null_norms(
    residuals: Residuals, labels: Labels, classes: int, permutations: int = 1000, seed: int = 0
) -> Float[np.ndarray, "permutations directions layers"]:
    """Norm of the direction under permuted labels, the same permutations at all layers; 0 at constant layers."""
    rng = np.random.default_rng(seed)
    share = metrics.contrasts(classes) / metrics.class_sizes(labels, classes)
    permuted = rng.permuted(np.tile(labels, (permutations, 1)), axis=1)
    null = np.zeros((permutations, len(share), residuals.shape[1]))
    for layer, x in varying(residuals):
        for direction, weights in enumerate(share):
            null[:, direction, layer] = np.sqrt(metrics.squared_norm(weights[permuted] @ x))
    return null


def chance(residuals: Residuals, labels: Labels, classes: int, permutations: int = 1000, seed: int = 0) -> PerLayer:
    """Threshold of the plain norm: without any signal, some layer of the curve exceeds it in 5 % of studies.

    Median null of the layer x 95th percentile over permutations of max over layers of (null / median null), for each
    direction; 0 at constant layers, which do not count. Westfall and Young 1993 (resampling, single step).
    """
    null = null_norms(residuals, labels, classes, permutations, seed)
    median = np.median(null, axis=0)
    largest = np.where(median > 0, null / np.where(median > 0, median, 1.0), 0.0).max(axis=2)
    return median * np.quantile(largest, LEVEL, axis=0)[:, None]


def unbiased_chance(threshold: PerLayer, noise: PerLayer) -> PerLayer:
    """`chance` on the scale of `metrics.norm_unbiased`, given `metrics.noise`: the same layers exceed it."""
    return np.sqrt(np.maximum(0.0, np.square(threshold) - noise))


def leaves_chance(values: Float[np.ndarray, " layers"], threshold: Float[np.ndarray, " layers"]) -> int | None:
    """Find the first layer from which all later ones exceed the threshold; None if the last one does not."""
    below = np.flatnonzero(~(values > threshold))
    first = int(below[-1]) + 1 if len(below) else 0
    return first if first < len(values) else None
