"""Does a checkpoint answer with the right label word? Recalls, AUC, gap and bias of its own readout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from backend.caching.memoize import memoized
from backend.lab.cost import Cost, cost_of_fields
from backend.lab.lab import Lab
from backend.stats import intervals, metrics
from backend.stats.estimate import Estimate, undefined
from backend.stats.rows import cell, interval, of_class
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

KEY = ("checkpoint", "label")
NEEDS = "answers"


@dataclass(frozen=True)
class Query:
    """The checkpoint and its prompts; `draws` bootstrap draws with `seed`."""

    checkpoint: PinnedCheckpoint
    prompts: Prompts
    draws: int = 1000
    seed: int = 0

    @property
    def cost(self) -> Cost:
        """The readout and the bootstrap."""
        return cost_of_fields(self).with_fitting(0.03 * self.draws / 1000)


@dataclass(frozen=True, eq=False)
class Result:
    """The readout of one checkpoint. Two classes have one direction (class 1 - class 0), more have one per class.

    `recall` is the share of each class's reviews predicted as that class (Wilson), `balanced_accuracy` their mean
    (MOVER), `auc` of the logit difference (more classes: macro one-vs-rest), `gap` in logits; `mean_logit_diff` is the
    bias in logits towards class 1 (more classes: towards each class); the last three with stratified bootstrap
    intervals, all 95 %. `n` counts reviews per class, `logit_diff` and `prediction` (a class) are each review's own.
    """

    recall: Estimate[Float[np.ndarray, " classes"]]
    balanced_accuracy: Estimate[float]
    auc: Estimate[float]
    gap: Estimate[float]
    mean_logit_diff: Estimate[Float[np.ndarray, " directions"]]
    n: Int[np.ndarray, " classes"]
    logit_diff: Float[np.ndarray, "reviews directions"]
    prediction: Int[np.ndarray, " reviews"]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per class (`label`); values of the whole checkpoint repeat. None without an answer."""
        directions = self.logit_diff.shape[1]
        if (self.prediction < 0).all():
            return
        for c in range(len(self.n)):
            yield {
                "checkpoint": query.checkpoint.label,
                "label": c,
                **of_class(c, directions),
                **interval(self, "recall", c),
                **interval(self, "balanced_accuracy"),
                **interval(self, "auc"),
                **interval(self, "gap"),
                **interval(self, "mean_logit_diff", c if directions > 1 else 0),
                "n": int(self.n[c]),
            }

    def review_rows(self, query: Query, review: int, index: int) -> Iterator[dict[str, Any]]:
        """Yield the answer to one review (source row `index`); one row per class if there are more than two."""
        directions = self.logit_diff.shape[1]
        for c in range(directions):
            yield {
                "checkpoint": query.checkpoint.label,
                "index": index,
                "label": int(query.prompts.labels[review]),
                "prediction": int(self.prediction[review]),
                **of_class(c, directions),
                "logit_diff": cell(self.logit_diff[review, c]),
            }


def accuracy(
    logits: Float[np.ndarray, "reviews classes"], labels: Int[np.ndarray, " reviews"], draws: int = 1000, seed: int = 0
) -> Result:
    """Compute all measures from the label logits of a sample. UndefinedError if a class has no review."""
    classes = logits.shape[1]
    logit_diff = metrics.logit_diff(logits)
    predicted = metrics.predictions(logits)
    recall = metrics.recalls(predicted, labels, classes)
    sizes = metrics.class_sizes(labels, classes)
    balanced = metrics.balanced_accuracy(recall), *intervals.balanced_accuracy_interval(recall, sizes)
    mean = metrics.mean_logit_diff(logit_diff), *intervals.mean_interval(logit_diff, labels, draws, seed)
    return Result(
        recall=Estimate(recall, *intervals.wilson(recall * sizes, sizes)),
        balanced_accuracy=Estimate(*balanced),
        auc=Estimate(metrics.auc(logit_diff, labels), *intervals.auc_interval(logit_diff, labels, draws, seed)),
        gap=Estimate(metrics.gap(logit_diff, labels), *intervals.gap_interval(logit_diff, labels, draws, seed)),
        mean_logit_diff=Estimate(*mean),
        n=sizes,
        logit_diff=logit_diff,
        prediction=predicted,
    )


def unanswered(labels: Int[np.ndarray, " reviews"], classes: int) -> Result:
    """Return the result of a checkpoint without a head: NaN, and -1 for every prediction."""
    directions = len(metrics.contrasts(classes))
    return Result(
        recall=undefined(classes),
        balanced_accuracy=undefined(),
        auc=undefined(),
        gap=undefined(),
        mean_logit_diff=undefined(directions),
        n=metrics.class_sizes(labels, classes),
        logit_diff=np.full((len(labels), directions), np.nan),
        prediction=np.full(len(labels), -1),
    )


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Read the prompts with the checkpoint and measure its answers; all is NaN without a head."""
    if not query.checkpoint.facts.replies:
        return unanswered(query.prompts.labels, query.prompts.classes)
    readout = lab.part(0, 2).readout(query.checkpoint, query.prompts)
    lab.progress(0.5, f"Resampling the readout of {query.checkpoint.label} {query.draws:,} times.")
    result = accuracy(readout.logits, query.prompts.labels, query.draws, query.seed)
    lab.progress(1.0, f"Measured the accuracy of {query.checkpoint.label}.")
    return result


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query for every checkpoint with a head; the reference is not used."""
    return [Query(checkpoint, study.prompts) for checkpoint in study.answering]
