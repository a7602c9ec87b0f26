"""The single definition of every quantity that Layershift measures; arrays in, arrays out, float64 inside.

Two classes have one direction, class 1 minus class 0; more classes have one each, class minus mean of the other means.
Functions of classes take class indices 0..classes-1; a class without reviews raises UndefinedError.
Principal components are in `pca`, uncertainty is in `intervals`.
"""

from __future__ import annotations

import numpy as np
import scipy
from jaxtyping import Bool, Float, Int, Shaped

from backend.errors import UndefinedError
from backend.stats.splits import Groups, half_splits

Residuals = Float[np.ndarray, "reviews layers width"]
Labels = Int[np.ndarray, " reviews"]
LogitDiff = Float[np.ndarray, "reviews directions"]
PerLayer = Float[np.ndarray, "directions layers"]
Values = Float[np.ndarray, "..."]

FLOAT_NOISE = 1e-6
"""Spread over reviews, relative to the largest activation of the layer, below which a layer counts as constant."""


def contrasts(classes: int) -> Float[np.ndarray, "directions classes"]:
    """Return the weight of each class mean in each direction; rows sum to zero. One class has no direction."""
    if classes <= 2:
        return np.array([[-1.0, 1.0]])[: classes - 1, :classes]
    return (classes * np.eye(classes) - 1) / (classes - 1)


def class_sizes(labels: Labels, classes: int) -> Int[np.ndarray, " classes"]:
    """Count reviews per class; UndefinedError if a class has none."""
    sizes = np.bincount(labels, minlength=classes)
    if len(sizes) > classes or not sizes.all():
        raise UndefinedError(f"Every one of the {classes} classes needs texts; the sample has {sizes.tolist()}.")
    return sizes


# The model's own readout


def logit_diff(logits: Float[np.ndarray, "reviews classes"]) -> LogitDiff:
    """Compute the logit difference in nats: logit(1) - logit(0), or logit(c) - logsumexp of the other classes."""
    logits = logits.astype(np.float64)
    if logits.shape[1] == 2:
        return logits[:, 1:] - logits[:, :1]
    others = [scipy.special.logsumexp(np.delete(logits, c, axis=1), axis=1) for c in range(logits.shape[1])]
    return logits - np.stack(others, axis=1)


def predictions(logits: Float[np.ndarray, "reviews classes"]) -> Labels:
    """Return the class with the largest logit; ties: the lower (two classes: class 1 if the logit difference > 0)."""
    return logits.argmax(axis=1)


def recalls(predicted: Labels, labels: Labels, classes: int) -> Float[np.ndarray, " classes"]:
    """Return the share of each class that is predicted correctly, 0..1."""
    return np.bincount(labels[predicted == labels], minlength=classes) / class_sizes(labels, classes)


def balanced_accuracy(recall: Float[np.ndarray, " classes"]) -> float:
    """Return the mean of the recalls: 1 / classes for a constant prediction."""
    return float(recall.mean())


def auc(logit_diff: LogitDiff, labels: Labels) -> float:
    """Compute the area under the ROC curve of the logit difference, ties counted half; more classes: macro one-vs-rest.

    A single column is scored for class 1. NaN if one side is empty. Mann and Whitney 1947.
    """
    return float(aucs(logit_diff, labels, np.ones((1, len(labels))))[0])


def aucs(
    logit_diff: LogitDiff,
    labels: Labels,
    counts: Shaped[np.ndarray, "draws reviews"],
) -> Float[np.ndarray, " draws"]:
    """Compute `auc` of many resamples at once; `counts` says how often each review is in each resample."""
    total = np.zeros(len(counts))
    by_review = counts.T.astype(np.float64)
    for column, values in enumerate(logit_diff.T):
        of_class = labels == (1 if logit_diff.shape[1] == 1 else column)
        positive, order = by_review[of_class], np.argsort(values[~of_class])
        # a review of the class wins over the others with a lower logit difference: a running sum of their counts
        below = np.zeros((len(order) + 1, len(counts)))
        np.cumsum(by_review[~of_class][order], axis=0, out=below[1:])
        others = values[~of_class][order]
        lower, upper = (np.searchsorted(others, values[of_class], side) for side in ("left", "right"))
        won = np.einsum("rd,rd->d", positive, below[lower])
        won = (won + np.einsum("rd,rd->d", positive, below[upper])) / 2 if (lower != upper).any() else won
        total += ratio(won, positive.sum(axis=0) * below[-1])
    return total / logit_diff.shape[1]


def gap(logit_diff: LogitDiff, labels: Labels) -> float:
    """Return the mean logit difference over class 1 minus that over class 0; more classes: averaged."""
    return float(gaps(logit_diff, labels, np.ones((1, len(labels))))[0])


def gaps(
    logit_diff: LogitDiff,
    labels: Labels,
    counts: Shaped[np.ndarray, "draws reviews"],
) -> Float[np.ndarray, " draws"]:
    """Compute `gap` of many resamples at once; `counts` says how often each review is in each resample."""
    classes = max(2, logit_diff.shape[1])
    class_sizes(labels, classes)
    total = np.zeros(len(counts))
    for c in range(classes):
        of_class = counts[:, labels == c].astype(np.float64)
        mean = of_class @ logit_diff[labels == c] / of_class.sum(axis=1, keepdims=True)  # [draws, directions]
        total += (mean * contrasts(classes)[:, c]).sum(axis=1)
    return total / logit_diff.shape[1]


def mean_logit_diff(logit_diff: LogitDiff) -> Float[np.ndarray, " directions"]:
    """Return the mean over all reviews: the bias of the readout, 0 for an unbiased model on a balanced sample."""
    return logit_diff.mean(axis=0, dtype=np.float64)


def fraction_recovered(gap: Values, host: Values, donor: Values) -> Values:
    """Return the place of a gap between the host's (0) and the donor's (1); NaN where these are equal."""
    way = np.asarray(donor) - host
    return ratio((np.asarray(gap) - host) * np.sign(way), np.abs(way))


# The direction between classes


def constant_layers(residuals: Residuals) -> Bool[np.ndarray, " layers"]:
    """Return the layers with identical reviews up to float noise, such as layer 0 of a rotary model."""
    scale = FLOAT_NOISE * np.abs(residuals).max(axis=(0, 2))
    return np.ptp(residuals, axis=0).max(axis=-1) <= scale


def varying(*models: Residuals) -> list[int]:
    """Return the layers that are constant in none of the models."""
    return np.flatnonzero(~np.any([constant_layers(residuals) for residuals in models], axis=0)).tolist()


def class_means(residuals: Residuals, labels: Labels, classes: int) -> Float[np.ndarray, "classes layers width"]:
    """Return the mean residual of each class."""
    class_sizes(labels, classes)
    return np.stack([residuals[labels == c].mean(axis=0, dtype=np.float64) for c in range(classes)])


def directions(residuals: Residuals, labels: Labels, classes: int) -> Float[np.ndarray, "directions layers width"]:
    """Return d[l], the difference of class means; exactly zero at constant layers."""
    d = np.tensordot(contrasts(classes), class_means(residuals, labels, classes), axes=1)
    d[:, constant_layers(residuals)] = 0.0
    return d


def squared_norm(d: Float[np.ndarray, "... width"]) -> Float[np.ndarray, "..."]:
    """Return the squared length over the last axis; sampling noise lengthens that of an estimated direction."""
    d = np.asarray(d, dtype=np.float64)
    return np.asarray(np.vecdot(d, d))


def class_variances(residuals: Residuals, labels: Labels, classes: int) -> Float[np.ndarray, "classes layers"]:
    """Return tr S of each class: the trace of its unbiased covariance; NaN for a class of one review."""
    sizes = class_sizes(labels, classes)
    traces = np.full((classes, residuals.shape[1]), np.nan)
    for c in np.flatnonzero(sizes > 1):
        for layer, x in enumerate(residuals[labels == c].swapaxes(0, 1)):
            traces[c, layer] = np.square(x - x.mean(axis=0, dtype=np.float64)).sum() / (sizes[c] - 1)
    traces[:, constant_layers(residuals)] = 0.0
    return traces


def noise(residuals: Residuals, labels: Labels, classes: int) -> PerLayer:
    """Return what sampling noise adds to the squared norm on average: tr S1/n1 + tr S0/n0 for two classes."""
    of_means = class_variances(residuals, labels, classes) / class_sizes(labels, classes)[:, None]
    return np.square(contrasts(classes)) @ of_means


def unbiased_squared_norm(residuals: Residuals, labels: Labels, classes: int) -> PerLayer:
    """Compute T = norm^2 - tr S1/n1 - tr S0/n0: unbiased, so below zero about half the time without signal.

    Bai and Saranadasa 1996, Statistica Sinica 6; Chen and Qin 2010, Annals of Statistics 38.
    """
    return squared_norm(directions(residuals, labels, classes)) - noise(residuals, labels, classes)


def norm_unbiased(residuals: Residuals, labels: Labels, classes: int) -> PerLayer:
    """Return sqrt(max(0, T)): the length of the direction without the contribution of noise."""
    return np.sqrt(np.maximum(0.0, unbiased_squared_norm(residuals, labels, classes)))


def review_norms(residuals: Residuals) -> Float[np.ndarray, "reviews layers"]:
    """Return the l2 norm of every residual."""
    return np.sqrt(np.einsum("rlw,rlw->rl", residuals, residuals, dtype=np.float64))


def mean_norm(residuals: Residuals) -> Float[np.ndarray, " layers"]:
    """Return the mean l2 norm of the residuals: the scale of the stream."""
    return review_norms(residuals).mean(axis=0)


def relative(residuals: Residuals, labels: Labels, classes: int) -> PerLayer:
    """Return the norm of the direction over the mean norm of the residuals; NaN where these are zero."""
    return ratio(np.sqrt(squared_norm(directions(residuals, labels, classes))), mean_norm(residuals))


def within_class_variance(residuals: Residuals, labels: Labels, classes: int) -> Float[np.ndarray, " layers"]:
    """Return the trace of the pooled within-class covariance: sum of (n - 1) tr S over (reviews - classes)."""
    freedom = class_sizes(labels, classes) - 1
    squares = np.where(freedom[:, None] > 0, freedom[:, None] * class_variances(residuals, labels, classes), 0.0)
    return ratio(squares.sum(axis=0), np.asarray(float(freedom.sum())))


def separation(residuals: Residuals, labels: Labels, classes: int) -> PerLayer:
    """Return the unbiased norm in units of the spread within classes (root of the trace); NaN at constant layers."""
    spread = np.sqrt(within_class_variance(residuals, labels, classes))
    return ratio(norm_unbiased(residuals, labels, classes), spread)


# Cosines


def ratio(above: Float[np.ndarray, "..."], below: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return above / below, NaN where below is not positive."""
    above, below = np.broadcast_arrays(above, below)
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def cosine(a: Float[np.ndarray, "..."], b: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return the cosine over the last axis, -1..1; NaN where either is zero."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    product = np.asarray(np.vecdot(a, b))
    return np.asarray(np.clip(ratio(product, np.sqrt(squared_norm(a)) * np.sqrt(squared_norm(b))), -1.0, 1.0))


def review_cosine(residuals: Residuals) -> Float[np.ndarray, " layers"]:
    """Return the mean cosine between different reviews: the baseline for other cosines (anisotropy)."""
    norms = review_norms(residuals)
    inverse = ratio(np.ones_like(norms), norms)
    unit_sum = np.einsum("rlw,rl->lw", residuals, np.nan_to_num(inverse))
    nonzero = (norms > 0).sum(axis=0).astype(np.float64)
    return ratio(squared_norm(unit_sum) - nonzero, nonzero * (nonzero - 1))


def half_weights(
    in_half: Bool[np.ndarray, "splits reviews"], labels: Labels, classes: int
) -> Float[np.ndarray, "directions splits reviews"]:
    """Return the weight of each review in the direction of a half; NaN if a class has no review in it."""
    weights = np.zeros((len(contrasts(classes)), *in_half.shape))
    for c in range(classes):
        share = np.where(labels == c, in_half, 0.0)
        weights += contrasts(classes)[:, c, None, None] * ratio(share, share.sum(axis=1, keepdims=True))
    return weights


def split_cosine(
    base: Residuals,
    checkpoint: Residuals,
    labels: Labels,
    classes: int,
    splits: int = 50,
    seed: int = 0,
    groups: Groups | None = None,
) -> PerLayer:
    """Return the cosine of two models' directions, without the noise that they share by reading the same reviews.

    Mean over stratified half-splits of <base on one half, checkpoint on the other> (both ways round), over the root
    of the product of the two split-half self-products. An estimate, so it can pass 1. NaN where a self-product is
    not positive, where a layer is constant, and where a half lacks a class. Copies of a text, which share their number
    in `groups`, stay in one half. Spearman 1904 (correction for attenuation).
    """
    in_a = half_splits(labels, classes, splits, seed, groups)
    a, b = half_weights(in_a, labels, classes), half_weights(~in_a, labels, classes)
    out = np.full((len(a), base.shape[1]), np.nan)
    for layer in varying(base, checkpoint):
        base_a, base_b, own_a, own_b = (
            half @ (x[:, layer] - x[:, layer].mean(axis=0, dtype=np.float64))
            for x in (base, checkpoint)
            for half in (a, b)
        )
        cross = np.vecdot(base_a, own_b).mean(axis=1) / 2 + np.vecdot(base_b, own_a).mean(axis=1) / 2
        of_base, of_own = np.vecdot(base_a, base_b).mean(axis=1), np.vecdot(own_a, own_b).mean(axis=1)
        both = np.where((of_base > 0) & (of_own > 0), of_base * of_own, 0.0)
        out[:, layer] = ratio(cross, np.sqrt(both))
    return out


def without_largest(residuals: Residuals, reference: Float[np.ndarray, "reviews2 layers width"], k: int) -> Residuals:
    """Set the k dimensions of largest mean |activation| in `reference` to zero, layer by layer."""
    if k == 0:
        return residuals
    largest = np.argsort(-np.abs(reference).mean(axis=0, dtype=np.float64), axis=-1, kind="stable")[:, :k]
    kept = np.ones(residuals.shape[1:], dtype=residuals.dtype)
    np.put_along_axis(kept, largest, 0, axis=-1)
    return residuals * kept
