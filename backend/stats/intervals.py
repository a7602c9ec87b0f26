"""All 95 % intervals and chance levels; docs/intervals.md has their sources and tests.

Intervals are (low, high). The interval of a norm is for the population that the reviews were drawn from. Noise
lengthens the plain norm of a sample, so it can lie above its own interval.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy
from jaxtyping import Float, Int, Shaped

from backend.stats import by_layer, metrics
from backend.stats.metrics import Labels, LogitDiff, PerLayer, Residuals
from backend.stats.resampling import (
    HALVINGS,
    LEVEL,
    TAILS,
    Resampled,
    bootstrap_counts,
    permuted_labels,
    split_cosines_without,
)
from backend.stats.rotation import rotated
from backend.stats.splits import Groups

Counts = Shaped[np.ndarray, "draws reviews"]
Values = Float[np.ndarray, "..."]
Interval = tuple[Values, Values]

# Proportions


def wilson(successes: Shaped[np.ndarray, "..."], n: Shaped[np.ndarray, "..."]) -> Interval:
    """Compute the score interval of a proportion, within 0..1; NaN where n is 0. Wilson 1927, JASA 22."""
    z = scipy.special.ndtri(TAILS[1])
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
    """Combine intervals of independent parts into that of sum(weights * estimates), over the last axis.

    Weights 1/C give a mean, (1, -1) a difference. Zou and Donner 2008, Statistics in Medicine 27 (method of variance
    estimates recovery); for two proportions Newcombe 1998, Statistics in Medicine 17, method 10.
    """
    middle = estimates @ weights
    down = np.where(weights > 0, estimates - low, high - estimates)
    up = np.where(weights > 0, high - estimates, estimates - low)
    down, up = (np.sqrt(np.square(weights * arm).sum(axis=-1)) for arm in (down, up))
    return np.asarray(middle - down), np.asarray(middle + up)


def balanced_accuracy_interval(
    recalls: Float[np.ndarray, " classes"], sizes: Int[np.ndarray, " classes"]
) -> tuple[float, float]:
    """Compute the interval of the mean of recalls over `sizes` reviews each: MOVER from Wilson limits, 0..1."""
    low, high = mover(recalls, *wilson(recalls * sizes, sizes), np.full(len(recalls), 1 / len(recalls)))
    return max(0.0, float(low)), min(1.0, float(high))


# Means, AUC, gap


def bootstrap(statistic: Callable[[Counts], np.ndarray], labels: Labels, draws: int = 1000, seed: int = 0) -> Interval:
    """Compute the percentile interval of `statistic`, which maps counts [draws, reviews] to values [draws, ...].

    Stratified by class. Efron 1979, Annals of Statistics 7. Not for norms, nor for statistics of pairs of reviews.
    """
    return percentiles(statistic(bootstrap_counts(labels, draws, seed)))


def percentiles(values: Float[np.ndarray, "draws ..."]) -> Interval:
    """Return the middle 95 % over the first axis."""
    low, high = np.quantile(values, TAILS, axis=0)
    return np.asarray(low), np.asarray(high)


def auc_interval(logit_diff: LogitDiff, labels: Labels, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Compute the interval of `metrics.auc`: all AUCs within 1.96 deviations of the estimate, in 0..1.

    The variance depends on the AUC as in Hanley and McNeil (1982, Radiology 143). It is scaled by the ratio of the
    stratified bootstrap's variance to theirs, limited to 2/3..3/2. A percentile bootstrap covers only 46 to 92 % near
    an AUC of 1, where few pairs overlap, and has no width at 1. Newcombe 2006, Statistics in Medicine 25, method 5. NaN
    if the AUC is NaN.
    """
    middle = metrics.auc(logit_diff, labels)
    if np.isnan(middle):
        return middle, middle
    columns = range(logit_diff.shape[1]) if logit_diff.shape[1] > 1 else (1,)
    pairs = [(int((labels == c).sum()), int((labels != c).sum())) for c in columns]
    drawn = metrics.aucs(logit_diff, labels, bootstrap_counts(labels, draws, seed)).var()
    expected = float(np.mean([_auc_variance(middle, *sizes) for sizes in pairs]))
    scale = np.clip(drawn / expected, 2 / 3 / len(pairs), 3 / 2) if expected > 0 else 1.0
    limits = []
    for end in (0.0, 1.0):
        inside, outside = middle, end
        for _ in range(HALVINGS):
            between = (inside + outside) / 2
            variance = scale * np.mean([_auc_variance(between, *sizes) for sizes in pairs])
            near = (between - middle) ** 2 <= scipy.special.ndtri(TAILS[1]) ** 2 * variance
            inside, outside = (between, outside) if near else (inside, between)
        limits.append(outside)
    return limits[0], limits[1]


def _auc_variance(auc: float, n: int, others: int) -> float:
    """Return the variance of an AUC over n x others pairs, for exponential scores and equal numbers of both sides."""
    spread = (n + others - 2) / 2 * ((1 - auc) / (2 - auc) + auc / (1 + auc))
    return auc * (1 - auc) * (1 + spread) / (n * others)


def gap_interval(logit_diff: LogitDiff, labels: Labels, draws: int = 1000, seed: int = 0) -> tuple[float, float]:
    """Compute the interval of `metrics.gap`."""
    low, high = bootstrap(lambda counts: metrics.gaps(logit_diff, labels, counts), labels, draws, seed)
    return float(low), float(high)


def mean_interval(
    values: Float[np.ndarray, "reviews ..."], labels: Labels, draws: int = 1000, seed: int = 0
) -> Interval:
    """Compute the interval of the mean over reviews with fixed class sizes, e.g. `metrics.mean_logit_diff`."""
    return bootstrap(lambda counts: np.tensordot(counts / len(labels), values, axes=1), labels, draws, seed)


# Statistics of pairs of reviews


def jackknife(statistic: Callable[[Int[np.ndarray, " kept"]], np.ndarray], labels: Labels) -> Interval:
    """Compute the delete-one interval of `statistic`, a function of the kept review indices.

    For CKA, Procrustes and other statistics of pairs: a bootstrap repeats reviews, which are too similar to themselves.
    Stratified by `labels` (all equal: one stratum), Student's t with reviews - strata degrees of freedom. Tukey 1958.
    """
    everyone = np.arange(len(labels))
    without = np.stack([np.asarray(statistic(np.delete(everyone, i))) for i in everyone])
    return jackknife_interval(np.asarray(statistic(everyone)), without, labels)


def jackknife_interval(estimate: Values, without: Float[np.ndarray, "reviews ..."], labels: Labels) -> Interval:
    """Compute the interval around `estimate` from its value without each of the reviews."""
    variance = np.zeros(estimate.shape)
    strata = np.unique(labels)
    for c in strata:
        values = without[labels == c]
        variance += (len(values) - 1) / len(values) * np.square(values - values.mean(axis=0)).sum(axis=0)
    half = scipy.special.stdtrit(max(1, len(labels) - len(strata)), TAILS[1]) * np.sqrt(variance)
    return np.asarray(estimate - half), np.asarray(estimate + half)


def split_cosine_interval(
    base: Residuals,
    checkpoint: Residuals,
    labels: Labels,
    classes: int,
    splits: int = 50,
    seed: int = 0,
    groups: Groups | None = None,
    estimate: PerLayer | None = None,
) -> tuple[PerLayer, PerLayer]:
    """Compute the jackknife interval of `metrics.split_cosine`, over texts if any have copies; NaN if undefined.

    `estimate` is the split cosine, if it is known.
    """
    if estimate is None:
        estimate = metrics.split_cosine(base, checkpoint, labels, classes, splits, seed, groups)
    without = split_cosines_without(base, checkpoint, labels, classes, groups)
    return jackknife_interval(estimate, without, labels if groups is None else labels[np.unique(groups)])


# The direction


@dataclass(frozen=True, eq=False)
class DirectionIntervals:
    """Intervals of the population's norm, norm over mean norm, and separation, each [directions, layers]."""

    norm: tuple[PerLayer, PerLayer]
    relative: tuple[PerLayer, PerLayer]
    separation: tuple[PerLayer, PerLayer]


def direction_intervals(
    residuals: Residuals,
    labels: Labels,
    classes: int,
    draws: int = 1000,
    seed: int = 0,
    norms: Float[np.ndarray, "reviews layers"] | None = None,
) -> DirectionIntervals:
    """Compute intervals by test-inversion bootstrap: T (noise-free norm^2), and T over mean norm^2 and variance.

    See `Resampled.lengths`. With a strong signal it equals the basic bootstrap interval of T recentred with the
    plug-in norm, [T - q.975(T* - norm^2), T - q.025(T* - norm^2)], rooted. Norms are 0 at constant layers and the
    rest NaN; all are NaN if a class has fewer than two reviews. `norms` are the residuals' lengths before centring.
    """
    contrasts = metrics.contrasts(classes)
    norm = np.zeros((2, len(contrasts), residuals.shape[1]))
    relative, separation = np.full(norm.shape, np.nan), np.full(norm.shape, np.nan)
    if metrics.class_sizes(labels, classes).min() < 2:
        return DirectionIntervals(
            (norm[0] + np.nan, norm[1] + np.nan), (relative[0], relative[1]), (separation[0], separation[1])
        )
    counts = bootstrap_counts(labels, draws, seed).astype(np.float64)
    t = metrics.unbiased_squared_norm(residuals, labels, classes)
    spread = np.sqrt(metrics.within_class_variance(residuals, labels, classes))
    norms = metrics.review_norms(residuals) if norms is None else norms

    def measure(layer: int) -> None:
        resampled = Resampled.of(rotated(residuals[:, layer]), labels, classes, counts)
        size = norms[:, layer].mean()
        drawn_size = counts @ norms[:, layer] / len(labels) / size
        scales = np.stack([np.ones(draws), np.square(drawn_size), np.nan_to_num(resampled.within, nan=1.0)])
        for direction, contrast in enumerate(contrasts):
            lengths = resampled.lengths(contrast, t[direction, layer], scales)
            norm[:, direction, layer] = lengths[0]
            relative[:, direction, layer] = lengths[1] / size
            separation[:, direction, layer] = metrics.ratio(lengths[2], np.asarray(spread[layer]))

    by_layer.measured(measure, metrics.varying(residuals), residuals[:, 0].size)
    return DirectionIntervals((norm[0], norm[1]), (relative[0], relative[1]), (separation[0], separation[1]))


def norm_interval(
    residuals: Residuals, labels: Labels, classes: int, draws: int = 1000, seed: int = 0
) -> tuple[PerLayer, PerLayer]:
    """Compute the interval of the population's norm of the direction, for `norm` and `norm_unbiased` alike."""
    return direction_intervals(residuals, labels, classes, draws, seed).norm


# Chance


def null_norms(
    residuals: Residuals, labels: Labels, classes: int, permutations: int = 1000, seed: int = 0
) -> Float[np.ndarray, "permutations directions layers"]:
    """Return norms of the direction under permuted labels, the same at all layers; 0 at constant layers."""
    share = metrics.contrasts(classes) / metrics.class_sizes(labels, classes)
    weights = share[:, permuted_labels(labels, permutations, seed)]
    null = np.zeros((permutations, len(share), residuals.shape[1]))

    def measure(layer: int) -> None:
        null[..., layer] = np.sqrt(metrics.squared_norm(weights @ rotated(residuals[:, layer]))).T

    by_layer.measured(measure, metrics.varying(residuals), residuals[:, 0].size)
    return null


def chance(residuals: Residuals, labels: Labels, classes: int, permutations: int = 1000, seed: int = 0) -> PerLayer:
    """Compute the threshold of the plain norm: without signal, some layer of the curve exceeds it in 5 % of studies.

    Median null of the layer x 95th percentile over permutations of max over layers of (null / median null), for each
    direction; 0 at constant layers, which are ignored. Westfall and Young 1993 (resampling, single step).
    """
    return familywise(null_norms(residuals, labels, classes, permutations, seed))


def familywise(null: Float[np.ndarray, "permutations directions layers"]) -> PerLayer:
    """Return the thresholds that 5 % of the permuted curves exceed somewhere: see `chance`."""
    median = np.median(null, axis=0)
    largest = np.where(median > 0, null / np.where(median > 0, median, 1.0), 0.0).max(axis=2)
    return median * np.quantile(largest, LEVEL, axis=0)[:, None]


def unbiased_chance(threshold: PerLayer, noise: PerLayer) -> PerLayer:
    """Convert `chance` to the scale of `metrics.norm_unbiased` with `metrics.noise`: the same layers exceed it."""
    return np.sqrt(np.maximum(0.0, np.square(threshold) - noise))


def leaves_chance(values: Float[np.ndarray, " layers"], threshold: Float[np.ndarray, " layers"]) -> int | None:
    """Find the first layer from which all later ones exceed the threshold; None if the last one does not."""
    below = np.flatnonzero(~(values > threshold))
    first = int(below[-1]) + 1 if len(below) else 0
    return first if first < len(values) else None


def curve_chance(null: Float[np.ndarray, "permutations layers"], middle: float) -> Float[np.ndarray, " layers"]:
    """Compute the threshold of a curve that is at `middle` without signal: some layer exceeds it in 5 % of studies.

    `middle` + deviation of the layer's null x 95th percentile over permutations of max over layers of (null - middle)
    / deviation. NaN for layers with a constant null, which are ignored. Westfall and Young 1993.
    """
    spread = np.sqrt(np.square(null - middle).mean(axis=0))
    spread[spread <= metrics.FLOAT_NOISE * spread.max()] = np.nan
    largest = np.nan_to_num((null - middle) / spread).max(axis=1)
    return middle + spread * np.quantile(largest, LEVEL)
