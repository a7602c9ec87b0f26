"""Does a checkpoint know how sure it is? Confidence of its answers against the share that is right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy
from jaxtyping import Float, Int

from backend.caching.memoize import memoized
from backend.lab.lab import Lab
from backend.stats import intervals, metrics
from backend.stats.estimate import Estimate
from backend.stats.rows import cell, cells
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

KEY = ("checkpoint",)
NEEDS = "answers"
MEASURES = ("brier", "confidence", "overconfidence")
FEWEST = 10
"""Reviews in a bin of the reliability curve; with fewer, its interval covers almost everything."""


@dataclass(frozen=True)
class Query:
    """One checkpoint on the study's prompts; `bins` of equal size at most."""

    checkpoint: PinnedCheckpoint
    prompts: Prompts
    bins: int = 8
    draws: int = 1000
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Result:
    """Probabilities of the label words against what is right, with 95 % intervals over reviews.

    `measures` are in the order of MEASURES: the Brier score (0 is best, 2 is sure and always wrong), the mean
    probability of the answer (0..1), and that minus the share of right answers (-1..1, positive is overconfident).
    `guessing` is the Brier score of equal probabilities. Bins hold equally many reviews, the least confident first:
    their mean confidence and the share of right answers (Wilson).
    """

    measures: Estimate[Float[np.ndarray, " measures"]]
    guessing: float
    bin_confidence: Float[np.ndarray, " bins"]
    bin_accuracy: Estimate[Float[np.ndarray, " bins"]]
    bin_n: Int[np.ndarray, " bins"]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """One row."""
        row: dict[str, Any] = {"checkpoint": query.checkpoint.label}
        for m, name in enumerate(MEASURES):
            row |= cells(name, self.measures, m)
        yield row | {"guessing_brier": cell(self.guessing), "n": int(self.bin_n.sum())}


def calibration(
    logits: Float[np.ndarray, "reviews classes"],
    labels: metrics.Labels,
    bins: int = 8,
    draws: int = 1000,
    seed: int = 0,
) -> Result:
    """Measure the calibration of label logits. Brier 1950, Monthly Weather Review 78; Guo et al. 2017, ICML.

    Probabilities are those among the label words: softmax over the classes.
    """
    classes = logits.shape[1]
    probability = scipy.special.softmax(logits.astype(np.float64), axis=1)
    answer = metrics.predictions(logits)
    right = (answer == labels).astype(np.float64)
    confidence = probability[np.arange(len(labels)), answer]
    brier = np.square(probability - np.eye(classes)[labels]).sum(axis=1)
    values = np.column_stack([brier, confidence, confidence - right])
    parts = np.array_split(np.argsort(confidence, kind="stable"), max(1, min(bins, len(labels) // FEWEST)))
    hits, n = np.array([right[part].sum() for part in parts]), np.array([len(part) for part in parts])
    return Result(
        measures=Estimate(values.mean(axis=0), *intervals.mean_interval(values, labels, draws, seed)),
        guessing=1 - 1 / classes,
        bin_confidence=np.array([confidence[part].mean() for part in parts]),
        bin_accuracy=Estimate(hits / n, *intervals.wilson(hits, n)),
        bin_n=n,
    )


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Read the prompts with the checkpoint, then compare its probabilities with the labels."""
    readout = lab.part(0, 2).readout(query.checkpoint, query.prompts)
    lab.progress(0.5, f"Resampling the answers of {query.checkpoint.label} {query.draws:,} times.")
    result = calibration(readout.logits, query.prompts.labels, query.bins, query.draws, query.seed)
    lab.progress(1.0, f"The calibration of {query.checkpoint.label} is measured.")
    return result


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Every checkpoint that has a head to answer with; the reference makes no difference."""
    return [Query(checkpoint, study.prompts) for checkpoint in study.answering]
