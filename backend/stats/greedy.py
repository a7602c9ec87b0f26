"""Find small sets that keep a gain: greedy on some reviews, judged on the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from backend.stats import metrics
from backend.stats.estimate import Estimate
from backend.stats.intervals import bootstrap
from backend.stats.metrics import Labels

Chosen = tuple[int, ...]
PerReview = Float[np.ndarray, "reviews directions"]
Evaluate = Callable[[Sequence[Chosen]], Mapping[Chosen, PerReview]]
"""Returns the logit differences of all reviews under each set."""


@dataclass(frozen=True, eq=False)
class Path:
    """Sets of growing size: `chosen` on all reviews, and the held-out share of the gain that sets so chosen keep."""

    chosen: Chosen
    kept: Estimate[Float[np.ndarray, " sizes"]]

    def smallest(self, share: float) -> Chosen | None:
        """Return the smallest set whose size keeps this share of the gain on held-out reviews; None if none does."""
        enough = np.flatnonzero(self.kept.value >= share)
        return None if not len(enough) else tuple(sorted(self.chosen[: int(enough[0]) + 1]))


def folds_of(labels: Labels, folds: int, seed: int) -> Int[np.ndarray, " reviews"]:
    """Return the fold of each review, stratified by class."""
    rng, fold = np.random.default_rng(seed), np.zeros(len(labels), np.int64)
    for c in np.unique(labels):
        members = np.flatnonzero(labels == c)
        fold[members] = rng.permutation(np.arange(len(members)) % folds)
    return fold


def search(
    evaluate: Evaluate,
    count: int,
    ends: tuple[PerReview, PerReview],
    labels: Labels,
    share: float,
    folds: int = 3,
    seed: int = 0,
) -> Path:
    """Grow sets of the `count` parts greedily by the gap, up to `share` of the gain from one end to the other.

    Each fold of the reviews is judged by the set that was chosen on the others, so a size is not flattered by its own
    choice. `kept` is the share of the gain at each size, with a bootstrap interval over reviews.
    """
    (plain, full), fold = ends, folds_of(labels, folds, seed)
    inside = [np.ones(len(labels), bool), *(fold != f for f in range(folds))]
    paths: list[Chosen] = [()] * len(inside)
    known: dict[Chosen, PerReview] = {}
    held_out: list[PerReview] = []
    while len(paths[0]) < count:
        candidates = [[tuple(sorted((*path, i))) for i in range(count) if i not in path] for path in paths]
        wanted = dict.fromkeys(one for each in candidates for one in each if one not in known)
        known |= evaluate(list(wanted))
        for k, (path, each) in enumerate(zip(paths, candidates, strict=True)):
            best = max(each, key=lambda one: metrics.gap(known[one][inside[k]], labels[inside[k]]))
            paths[k] = (*path, *(i for i in best if i not in path))
        judged = np.empty_like(plain)
        for f in range(folds):
            judged[fold == f] = known[tuple(sorted(paths[f + 1]))][fold == f]
        held_out.append(judged)
        if _share(judged, plain, full, labels) >= share:
            break
    return Path(paths[0], _kept(held_out, plain, full, labels, seed))


def _share(judged: PerReview, plain: PerReview, full: PerReview, labels: Labels) -> float:
    start, end = metrics.gap(plain, labels), metrics.gap(full, labels)
    return (metrics.gap(judged, labels) - start) / (end - start)


def _kept(
    held_out: Sequence[PerReview], plain: PerReview, full: PerReview, labels: Labels, seed: int
) -> Estimate[np.ndarray]:
    """Return the kept share of the gain at each size, with its interval."""

    def shares(counts: np.ndarray) -> np.ndarray:
        start, end, *gaps = (metrics.gaps(one, labels, counts) for one in (plain, full, *held_out))
        return np.stack([metrics.fraction_recovered(gap, start, end) for gap in gaps], axis=1)

    return Estimate(shares(np.ones((1, len(labels))))[0], *bootstrap(shares, labels, seed=seed))
