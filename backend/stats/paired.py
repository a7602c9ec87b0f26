"""Paired 95 % intervals of the difference between two models on the same reviews."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from backend.stats import metrics
from backend.stats.estimate import Estimate
from backend.stats.intervals import Values, mover, percentiles, wilson
from backend.stats.metrics import Labels, LogitDiff
from backend.stats.resampling import bootstrap_counts


def difference_of_proportions(first: Bool[np.ndarray, " n"], second: Bool[np.ndarray, " n"]) -> tuple[float, float]:
    """Compute the interval of share(first) - share(second), both over the same n items.

    From the score limits of both shares and their correlation. Newcombe 1998, Statistics in Medicine 17, pages
    2635-2650, method 10.
    """
    n = len(first)
    both, neither = int((first & second).sum()), int((~first & ~second).sum())
    only_first, only_second = int((first & ~second).sum()), int((~first & second).sum())
    shares = np.array([both + only_first, both + only_second]) / n
    low, high = wilson(shares * n, np.array([n, n]))
    product = float(both * neither - only_first * only_second)
    product = max(product - n / 2, 0.0) if product > 0 else product  # continuity corrected
    margins = [both + only_first, neither + only_second, both + only_second, neither + only_first]
    spread = np.sqrt(np.prod(margins, dtype=np.float64))
    phi = product / spread if spread > 0 else 0.0
    down, up = shares - low, high - shares
    middle = shares[0] - shares[1]
    lower = middle - np.sqrt(max(0.0, down[0] ** 2 - 2 * phi * down[0] * up[1] + up[1] ** 2))
    upper = middle + np.sqrt(max(0.0, up[0] ** 2 - 2 * phi * up[0] * down[1] + down[1] ** 2))
    return float(lower), float(upper)


def accuracy_lost(before: Labels, after: Labels, labels: Labels, classes: int) -> Estimate[float]:
    """Compute the balanced accuracy of the predictions `before` minus that of `after`.

    The paired differences of the classes are independent; MOVER combines them into the interval of their mean.
    """
    recalls = [metrics.recalls(predicted, labels, classes) for predicted in (before, after)]
    limits = [difference_of_proportions((before == c)[labels == c], (after == c)[labels == c]) for c in range(classes)]
    low, high = np.array(limits).T
    lower, upper = mover(recalls[0] - recalls[1], low, high, np.full(classes, 1 / classes))
    lost = metrics.balanced_accuracy(recalls[0]) - metrics.balanced_accuracy(recalls[1])
    return Estimate(lost, float(lower), float(upper))


def fraction_recovered(
    swapped: Float[np.ndarray, "swaps reviews directions"],
    host: LogitDiff,
    donor: LogitDiff,
    labels: Labels,
    draws: int = 1000,
    seed: int = 0,
) -> Estimate[Float[np.ndarray, " swaps"]]:
    """Compute `metrics.fraction_recovered` of each swap, with a stratified bootstrap of the three gaps together.

    All NaN where the interval of gap_donor - gap_host contains 0, or the donor has no logit difference.
    """
    everyone = np.ones((1, len(labels)))
    counts: Int[np.ndarray, "draws reviews"] = bootstrap_counts(labels, draws, seed)

    def of(drawn: np.ndarray) -> tuple[Values, Values, Values]:
        gaps = [metrics.gaps(logit_diff, labels, drawn) for logit_diff in (host, donor, *swapped)]
        return gaps[0], gaps[1], np.array(gaps[2:]).reshape(len(swapped), len(drawn))

    at_host, at_donor, at_swaps = of(counts)
    low, high = percentiles(at_donor - at_host)
    undefined = np.full(len(swapped), np.nan)
    if not (low > 0 or high < 0):
        return Estimate(undefined, undefined, undefined)
    limits = percentiles(metrics.fraction_recovered(at_swaps, at_host, at_donor).T)
    at_host, at_donor, at_swaps = of(everyone)
    return Estimate(metrics.fraction_recovered(at_swaps, at_host, at_donor)[:, 0], *limits)
