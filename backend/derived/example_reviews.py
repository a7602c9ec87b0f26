"""Choose reviews of the sample to try: by the answers of the checkpoints, or the first of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int


@dataclass(frozen=True)
class Example:
    """A review of the sample to try: its position, why it was chosen, and its class."""

    kind: str
    review: int
    label: int


def examples(
    logit_diff: Sequence[Float[np.ndarray, "reviews directions"]],
    predictions: Sequence[Int[np.ndarray, " reviews"]],
    labels: Int[np.ndarray, " reviews"],
) -> list[Example]:
    """Choose the typical and the hardest review of each class, and of two classes the one with most answer changes.

    `logit_diff` and `predictions` are those of the checkpoints, the base first; checkpoints without a head (NaN) are
    ignored. A review's margin is its logit difference towards its own class, averaged over the checkpoints after the
    base: typical is the median of a class, hardest the lowest. Ties in the number of changes go to the review whose
    margin moved most.
    """
    answers = [i for i, one in enumerate(logit_diff) if np.isfinite(one).all()]
    own = np.stack([_margins(logit_diff[i], labels) for i in answers])  # [checkpoints, reviews]
    margin = own[answers[0] == 0 :].mean(axis=0) if answers[-1] else own[0]
    order = np.argsort(margin, kind="stable")
    ranked = [order[labels[order] == c] for c in np.unique(labels)]
    chosen = [("typical", one[(len(one) - 1) // 2]) for one in ranked] + [("hardest", one[0]) for one in ranked]
    flips = (np.diff(np.stack([predictions[i] for i in answers]), axis=0) != 0).sum(axis=0)
    changed = np.lexsort((-np.ptp(own, axis=0), -flips))[: np.count_nonzero(flips)]
    firsts = np.sort(np.unique(labels[changed], return_index=True)[1])[:2]
    chosen += [("flipped", i) for i in changed[firsts]]
    return [Example(kind, int(i), int(labels[i])) for kind, i in chosen]


def first_examples(labels: Int[np.ndarray, " reviews"]) -> list[Example]:
    """Return the first review of each class, for a study without answers to choose by."""
    labels_there, firsts = np.unique(labels, return_index=True)
    return [Example("first", int(i), int(c)) for c, i in zip(labels_there, firsts, strict=True)]


def _margins(
    logit_diff: Float[np.ndarray, "reviews directions"], labels: Int[np.ndarray, " reviews"]
) -> Float[np.ndarray, " reviews"]:
    if logit_diff.shape[1] == 1:
        return np.where(labels == 1, logit_diff[:, 0], -logit_diff[:, 0])
    return np.take_along_axis(logit_diff, labels[:, None], axis=1)[:, 0]
