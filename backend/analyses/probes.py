"""From which layer on can a head read the answer? The residual of every layer through the base's or its own head.

A reading (logit lens) is a head and a norm. Heads: `base`, the reference's unembedding, or `own`. Norms: `none`,
`base`, the reference's final norm, or `own`. The reference itself has only `base`; a reference without a head provides
its norm only. `AS_PUBLISHED` is the setting of the study that Layershift follows: the base's head without a norm,
except at the last layer, where the checkpoint's own norm is applied. It combines two other readings, so it has no rows
of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from backend.caching.memoize import memoized
from backend.lab.cost import Cost, cost_of_fields, size
from backend.lab.lab import Lab
from backend.stats import intervals, metrics, resampling
from backend.stats.estimate import Estimate, stacked
from backend.stats.rows import cell, chance, interval, of_class
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

KEY = ("checkpoint", "head", "norm", "layer", "class")
NEEDS = "answers"

Reading = tuple[str, str]
"""Head and norm."""
Measure = Literal["balanced_accuracy", "auc", "gap"]
READINGS: tuple[Reading, ...] = tuple((head, norm) for head in ("base", "own") for norm in ("none", "base", "own"))
AS_PUBLISHED: Reading = ("base", "none, own at the end")
MEASURES = ("recall", "balanced_accuracy", "auc", "gap", "mean_logit_diff")


@dataclass(frozen=True)
class Query:
    """The checkpoint, and the reference (`base` in heads and norms) that reads it too."""

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    prompts: Prompts
    draws: int = 1000
    permutations: int = 1000
    seed: int = 0

    @property
    def cost(self) -> Cost:
        """The readouts, the heads and the resampling."""
        return cost_of_fields(self).with_fitting(0.9 * size(self.checkpoint, self.prompts))


@dataclass(frozen=True, eq=False)
class Result:
    """Every layer read in every way of `heads` and `norms`; intervals are 95 %, per layer.

    `recall` (Wilson), `balanced_accuracy` their mean (MOVER), `auc` of the logit difference, `gap` and
    `mean_logit_diff` in logits as in accuracy. Recalls separate bias from ignorance: a reading that always gives one
    class has recalls of 1 and 0 and a balanced accuracy of one half, and may still order the reviews perfectly (AUC).
    The `*_chance` arrays are thresholds that, without any signal, some layer of the curve exceeds in 5 % of studies,
    and the `*_leaves_chance` tuples hold, per reading, the first layer from which all later ones lie above theirs (-1:
    none). A layer at which all reviews are read alike has an AUC of one half. `logit_diff` and `prediction` (a class)
    are each review's own.
    """

    heads: tuple[str, ...]
    norms: tuple[str, ...]
    recall: Estimate[Float[np.ndarray, "readings layers classes"]]
    balanced_accuracy: Estimate[Float[np.ndarray, "readings layers"]]
    balanced_accuracy_leaves_chance: tuple[int, ...]
    auc: Estimate[Float[np.ndarray, "readings layers"]]
    auc_leaves_chance: tuple[int, ...]
    gap: Estimate[Float[np.ndarray, "readings layers"]]
    gap_leaves_chance: tuple[int, ...]
    mean_logit_diff: Estimate[Float[np.ndarray, "readings layers directions"]]
    logit_diff: Float[np.ndarray, "readings layers reviews directions"]
    prediction: Int[np.ndarray, "readings layers reviews"]

    @property
    def readings(self) -> tuple[Reading, ...]:
        """The head and norm of each reading."""
        return tuple(zip(self.heads, self.norms, strict=True))

    def place(self, head: str, norm: str) -> int:
        """Return the index of a reading in the arrays; `own` of the reference itself is `base`."""
        measured = (head, norm) in self.readings
        return self.readings.index((head, norm) if measured else ("base", norm.replace("own", "base")))

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per head, norm and layer, and per class if there are more than two."""
        for reading in self.readings:
            if reading != AS_PUBLISHED:
                yield from self.rows_of(query, reading)

    def rows_of(self, query: Query, reading: Reading) -> Iterator[dict[str, Any]]:
        """Yield the rows of one reading, `AS_PUBLISHED` included."""
        place = self.readings.index(reading)
        _, layers, classes = self.recall.value.shape
        directions = self.mean_logit_diff.value.shape[2]
        for layer in range(layers):
            recalls: dict[str, Any] = {}
            for c in range(classes):
                recall = interval(self, "recall", place, layer, c)
                recalls |= {name.replace("recall", f"recall_{c}"): value for name, value in recall.items()}
            for c in range(directions):
                yield {
                    "checkpoint": query.checkpoint.label,
                    "head": reading[0],
                    "norm": reading[1],
                    "layer": layer,
                    **of_class(c, directions),
                    **interval(self, "balanced_accuracy", place, layer),
                    **interval(self, "auc", place, layer),
                    **chance(self, "auc", place, layer),
                    **interval(self, "gap", place, layer),
                    **interval(self, "mean_logit_diff", place, layer, c),
                    **recalls,
                }

    def review_rows(
        self, query: Query, reading: Reading, indices: Int[np.ndarray, " reviews"], only: int | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield each review (or `only` the review at that position) at every layer; `indices` are the source rows."""
        place = self.place(*reading)
        _, layers, reviews, directions = self.logit_diff.shape
        for review in range(reviews) if only is None else (only,):
            for layer in range(layers):
                for c in range(directions):
                    yield {
                        "checkpoint": query.checkpoint.label,
                        "head": self.heads[place],
                        "norm": self.norms[place],
                        "index": int(indices[review]),
                        "label": int(query.prompts.labels[review]),
                        "layer": layer,
                        "prediction": int(self.prediction[place, layer, review]),
                        **of_class(c, directions),
                        "logit_diff": cell(self.logit_diff[place, layer, review, c]),
                    }

    def settles(self, place: int) -> Int[np.ndarray, " reviews"]:
        """Return the first layer from which a review's prediction no longer changes."""
        differs = self.prediction[place] != self.prediction[place, -1]
        layers = len(differs)
        return np.where(differs.any(axis=0), layers - differs[::-1].argmax(axis=0), 0)


def probes(
    logits: Float[np.ndarray, "readings layers reviews classes"],
    labels: metrics.Labels,
    readings: tuple[Reading, ...],
    query: Query,
    lab: Lab,
) -> Result:
    """Compute all measures of every reading and layer from label logits. UndefinedError if a class has no review."""
    curves: dict[str, list[Estimate[Any]]] = {name: [] for name in MEASURES}
    middles = {"balanced_accuracy": 1 / logits.shape[-1], "auc": 0.5, "gap": 0.0}
    leaves: dict[str, list[int]] = {name: [] for name in middles}
    logit_diff: list[np.ndarray] = []
    prediction: list[np.ndarray] = []
    for i, of_reading in enumerate(logits):
        lab.progress(i / len(logits), f"Resampling the readings of {query.checkpoint.label} {query.draws:,} times.")
        layers = [_layer(of_layer, labels, query) for of_layer in of_reading]
        null = resampling.null_curves(of_reading, labels, query.permutations, query.seed)
        prediction.append(np.stack([layer.prediction for layer in layers]))
        logit_diff.append(np.stack([layer.logit_diff for layer in layers]))
        for name in MEASURES:
            curve = stacked([layer.estimates[name] for layer in layers])
            if name in middles:
                level = intervals.curve_chance(null[name], middles[name])
                curve, first = replace(curve, chance=level), intervals.leaves_chance(curve.value, level)
                leaves[name].append(-1 if first is None else first)
            curves[name].append(curve)
    return Result(
        heads=tuple(h for h, _ in readings),
        norms=tuple(n for _, n in readings),
        logit_diff=np.stack(logit_diff),
        prediction=np.stack(prediction),
        balanced_accuracy_leaves_chance=tuple(leaves["balanced_accuracy"]),
        auc_leaves_chance=tuple(leaves["auc"]),
        gap_leaves_chance=tuple(leaves["gap"]),
        **{name: stacked(of_measure) for name, of_measure in curves.items()},
    )


@dataclass(frozen=True, eq=False)
class _Layer:
    """One layer in one reading."""

    estimates: dict[str, Estimate[Any]]
    logit_diff: Float[np.ndarray, "reviews directions"]
    prediction: Int[np.ndarray, " reviews"]


def _layer(logits: Float[np.ndarray, "reviews classes"], labels: metrics.Labels, query: Query) -> _Layer:
    classes, drawn = logits.shape[1], (query.draws, query.seed)
    logit_diff, predicted = metrics.logit_diff(logits), metrics.predictions(logits)
    recall, sizes = metrics.recalls(predicted, labels, classes), metrics.class_sizes(labels, classes)
    balanced = metrics.balanced_accuracy(recall), *intervals.balanced_accuracy_interval(recall, sizes)
    mean = metrics.mean_logit_diff(logit_diff), *intervals.mean_interval(logit_diff, labels, *drawn)
    estimates = {
        "recall": Estimate(recall, *intervals.wilson(recall * sizes, sizes)),
        "balanced_accuracy": Estimate(*balanced),
        "auc": Estimate(metrics.auc(logit_diff, labels), *intervals.auc_interval(logit_diff, labels, *drawn)),
        "gap": Estimate(metrics.gap(logit_diff, labels), *intervals.gap_interval(logit_diff, labels, *drawn)),
        "mean_logit_diff": Estimate(*mean),
    }
    return _Layer(estimates, logit_diff, predicted)


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Read the prompts with the checkpoint, apply each head and norm to every layer, then measure."""
    checkpoint, other, prompts = query.checkpoint, query.reference, query.prompts
    read = lab.part(0, 3).readout(checkpoint, prompts)
    reading = np.ascontiguousarray(read.reading.swapaxes(1, 2))  # [positions, layers, reviews, width]
    owners = {"base": other, "own": checkpoint, "none": None}
    readings = tuple(
        reading
        for reading in READINGS
        if (checkpoint != other or "own" not in reading) and (other.facts.replies or reading[0] == "own")
    )
    logits: dict[Reading, np.ndarray] = {}
    for i, (head, norm) in enumerate(readings):
        part = lab.part(1, 3).part(i, len(readings))
        part.progress(0.0, f"Reading every layer of {checkpoint.label} with {head} head and {norm} norm.")
        owner = owners[head] or checkpoint
        logits[head, norm] = part.answers(reading, prompts, owner, owners[norm])
    if other.facts.replies:
        last = logits["base", "own" if checkpoint != other else "base"]
        logits[AS_PUBLISHED] = np.concatenate([logits["base", "none"][:-1], last[-1:]])
    stacked = np.stack([*logits.values()])
    constant = metrics.constant_layers(read.residuals)
    stacked[:, constant] = stacked[:, constant, :1]  # equal rows of a matrix product differ in their last bits
    result = probes(stacked, prompts.labels, tuple(logits), query, lab.part(2, 3))
    lab.progress(1.0, f"Measured every layer of {checkpoint.label}.")
    return result


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query for every checkpoint with a head; KeyError if no checkpoint has the reference's label."""
    against = study.checkpoint(reference)
    return [Query(checkpoint, against, study.prompts) for checkpoint in study.answering]
