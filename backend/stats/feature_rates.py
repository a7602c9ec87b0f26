"""Feature rates: sparse activations of an autoencoder by review, compared between models and classes.

A feature *fires* at a token where its activation is above zero. Tokens of one review are not independent, so intervals
and tests count reviews.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from backend.stats import intervals, metrics
from backend.stats.metrics import Labels

Index = Int[np.ndarray, "tokens k"]
Value = Float[np.ndarray, "tokens k"]
PerFeature = Float[np.ndarray, " features"]
STATES = ("shared", "appeared", "vanished", "rare")
OFTEN = 1e-3
"""A feature that fires on fewer tokens than one in a thousand, in both models, is rare."""
TIMES = 10.0
"""A feature appeared or vanished if one model's rate is at least this many times the other's."""
SAME = 0.7
"""Decoder rows with at least this cosine are the same feature: Paulo and Belrose 2025."""


@dataclass(frozen=True, eq=False)
class FeatureRates:
    """One model's features over reviews: the number of `tokens`, and of tokens on which each feature `fired`.

    `total` is the sum of its activations, `largest` its maximum over a review's tokens (0 where it did not fire).
    """

    tokens: Int[np.ndarray, " reviews"]
    fired: Int[np.ndarray, "reviews features"]
    total: Float[np.ndarray, " features"]
    largest: Float[np.ndarray, "reviews features"]

    @property
    def rate(self) -> PerFeature:
        """The share of tokens on which each feature fires."""
        return self.fired.sum(axis=0) / max(1, int(self.tokens.sum()))

    @property
    def mean_when_firing(self) -> PerFeature:
        """The mean activation over the tokens on which a feature fires; NaN if it never fires."""
        return metrics.ratio(self.total, self.fired.sum(axis=0).astype(np.float64))

    @property
    def mean(self) -> PerFeature:
        """The mean activation over all tokens."""
        return self.total / max(1, int(self.tokens.sum()))


def count(
    review: Int[np.ndarray, " tokens"],
    index: Index,
    value: Value,
    kept: Bool[np.ndarray, " tokens"],
    reviews: int,
    features: int,
) -> FeatureRates:
    """Count the `kept` tokens; `index[t]` are the features that are active at token t, with activations `value[t]`."""
    rows, slots = np.nonzero((value > 0) & kept[:, None])
    at, which, how_much = review[rows], index[rows, slots], value[rows, slots].astype(np.float64)
    place = at * features + which
    largest = np.zeros(reviews * features)
    np.maximum.at(largest, place, how_much)
    return FeatureRates(
        tokens=np.bincount(review[kept], minlength=reviews),
        fired=np.bincount(place, minlength=reviews * features).reshape(reviews, features),
        total=np.bincount(which, weights=how_much, minlength=features).astype(np.float64),
        largest=largest.reshape(reviews, features),
    )


def rate_change(before: FeatureRates, after: FeatureRates, labels: Labels) -> tuple[PerFeature, PerFeature, PerFeature]:
    """Return the rate after minus the rate before, with its 95 % interval: delete-one-review jackknife.

    The sampling unit is the review (Cochran 1977, Sampling Techniques, on ratios of clusters).
    """
    change = (after.fired - before.fired).astype(np.float64)
    total, tokens = change.sum(axis=0), before.tokens.astype(np.float64)
    estimate = total / max(1.0, tokens.sum())
    without = metrics.ratio(total - change, (tokens.sum() - tokens)[:, None])
    low, high = intervals.jackknife_interval(estimate, without, labels)
    return estimate, low, high


def states(before: PerFeature, after: PerFeature, low: PerFeature, high: PerFeature) -> Int[np.ndarray, " features"]:
    """Return the index of each feature in STATES, by its rates and the interval of their difference.

    `appeared`: fires on one token in a thousand or more after, at most a tenth as often before, and the interval of the
    difference is above zero; `vanished` the other way round; `rare`: under one in a thousand in both; else `shared`.
    """
    state = np.full(len(before), STATES.index("shared"))
    state[(before < OFTEN) & (after < OFTEN)] = STATES.index("rare")
    state[(after >= OFTEN) & (after >= TIMES * before) & (low > 0)] = STATES.index("appeared")
    state[(before >= OFTEN) & (before >= TIMES * after) & (high < 0)] = STATES.index("vanished")
    return state


def tell_apart(
    largest: Float[np.ndarray, "reviews features"], labels: Labels, classes: int
) -> tuple[Float[np.ndarray, "directions features"], Float[np.ndarray, "directions features"]]:
    """Return the AUC of each feature's largest activation for a class against the others, and its p-value.

    Two classes: for class 1. More classes: of each against the rest (their mean would be one half for any feature).
    Mann-Whitney test, two-sided, by the normal approximation with ties and continuity corrected; NaN for a feature that
    fires in no review, and for all features of one class. Mann and Whitney 1947.
    """
    from scipy.stats import mannwhitneyu  # on use: it delays the first page

    metrics.class_sizes(labels, classes)
    fires = largest.max(axis=0) > 0
    columns = (1,) if classes == 2 else tuple(range(classes))
    auc, p = np.full((2, len(columns), largest.shape[1]), np.nan)
    if classes == 1:
        return auc, p
    for row, c in enumerate(columns):
        inside, outside = largest[labels == c][:, fires], largest[labels != c][:, fires]
        if inside.shape[1]:
            test = mannwhitneyu(inside, outside, alternative="two-sided", method="asymptotic", axis=0)
            auc[row, fires], p[row, fires] = test.statistic / (len(inside) * len(outside)), test.pvalue
    return auc, p


def false_discovery(p: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
    """Return q-values: at 0.05, one discovery in twenty is false on average. NaN stays, and does not count.

    Benjamini and Hochberg 1995; features that fire together are positively dependent, for which it holds (Benjamini
    and Yekutieli 2001).
    """
    from scipy.stats import false_discovery_control  # on use, as above

    q = np.full(p.shape, np.nan)
    defined = np.isfinite(p)
    if defined.any():
        q[defined] = false_discovery_control(p[defined])
    return q


def pair(
    first: Float[np.ndarray, "features width"], second: Float[np.ndarray, "others width"]
) -> tuple[Shaped[np.ndarray, " features"], Shaped[np.ndarray, " others"]]:
    """Return the cosine of each decoder row with its pair in the other autoencoder; NaN for unpaired rows.

    Pairs are one-to-one, with the largest sum of cosines (the Hungarian method). Paulo and Belrose 2025, "Sparse
    autoencoders trained on the same data learn different features".
    """
    from scipy.optimize import linear_sum_assignment

    cosines = _unit(first) @ _unit(second).T
    rows, columns = linear_sum_assignment(cosines, maximize=True)
    of_first, of_second = np.full(len(first), np.nan), np.full(len(second), np.nan)
    of_first[rows] = of_second[columns] = cosines[rows, columns]
    return of_first, of_second


def _unit(x: Float[np.ndarray, "features width"]) -> Float[np.ndarray, "features width"]:
    length = np.linalg.norm(x, axis=1, keepdims=True)
    return x.astype(np.float64) / np.where(length > 0, length, 1.0)
