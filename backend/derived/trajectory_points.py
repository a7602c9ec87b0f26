"""Measure one checkpoint of a training: class direction, accuracy and their nulls, and the likeness to a reference.

Each is memoized by itself, so a checkpoint that training adds costs only its own. The null uses the same permutations
of the labels for every checkpoint, so that a threshold can hold over all of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import memoized
from backend.errors import UndefinedError
from backend.lab.cost import Cost, cost_of_fields, size
from backend.lab.lab import Lab
from backend.stats import by_layer, centroids, cka, intervals, metrics, splits
from backend.stats.estimate import Estimate, undefined
from backend.stats.metrics import Labels, PerLayer, Residuals
from backend.stats.resampling import null_curves
from backend.stats.rotation import rotated
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.token_ids import Prompts

FOLDS = 5
"""At most; fewer where a class has fewer texts."""
CLASSES_SECONDS, LIKENESS_SECONDS = 0.6, 0.05
"""On the reference machine, for the size of the demo."""


@dataclass(frozen=True)
class ClassesQuery:
    """The largest dimensions of `reference` are left out; None keeps all."""

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint | None
    prompts: Prompts
    drop_largest: int
    draws: int
    permutations: int
    seed: int

    @property
    def cost(self) -> Cost:
        """The readouts, the bootstrap, and the permutations of lengths and accuracies."""
        return cost_of_fields(self).with_fitting(CLASSES_SECONDS * size(self.checkpoint, self.prompts))


@dataclass(frozen=True, eq=False)
class Classes:
    """How far apart the classes are in one checkpoint, in its residuals and in its answers (NaN without a head).

    `norm` is the length of the class direction without `noise` (of the squared norm). `layer_accuracy` is the balanced
    accuracy of the nearest class mean in reviews of other folds (see `centroids`), NaN where the texts are too few for
    two folds or all alike. The nulls are the plain norm and both accuracies under permuted labels.
    """

    norm: Estimate[PerLayer]
    noise: PerLayer
    null_norm: Float[np.ndarray, "permutations directions layers"]
    layer_accuracy: Estimate[Float[np.ndarray, " layers"]]
    null_layer_accuracy: Float[np.ndarray, "permutations layers"]
    balanced_accuracy: Estimate[float]
    null_accuracy: Float[np.ndarray, " permutations"]


def classes(
    residuals: Residuals,
    logits: Float[np.ndarray, "reviews classes"] | None,
    labels: Labels,
    count: int,
    draws: int = 1000,
    permutations: int = 1000,
    seed: int = 0,
    groups: splits.Groups | None = None,
) -> Classes:
    """Measure the class direction and the answers of one checkpoint for `count` classes; no logits: no answers.

    `groups` are the copies of a text, which are never in two folds.
    """
    layer_accuracy, null_layer_accuracy = _layer_accuracy(residuals, labels, count, permutations, seed, groups)
    limits = intervals.norm_interval(residuals, labels, count, draws, seed)
    accuracy, null_accuracy = undefined(), np.full(permutations, np.nan)
    if logits is not None:
        recall = metrics.recalls(metrics.predictions(logits), labels, count)
        sizes = metrics.class_sizes(labels, count)
        within = intervals.balanced_accuracy_interval(recall, sizes)
        accuracy = Estimate(metrics.balanced_accuracy(recall), *within)
        null_accuracy = null_curves(logits[None], labels, permutations, seed)["balanced_accuracy"][:, 0]
    return Classes(
        norm=Estimate(metrics.norm_unbiased(residuals, labels, count), *limits),
        noise=metrics.noise(residuals, labels, count),
        null_norm=intervals.null_norms(residuals, labels, count, permutations, seed).astype(np.float32),
        layer_accuracy=layer_accuracy,
        null_layer_accuracy=null_layer_accuracy,
        balanced_accuracy=accuracy,
        null_accuracy=null_accuracy,
    )


def _layer_accuracy(
    residuals: Residuals, labels: Labels, count: int, permutations: int, seed: int, groups: splits.Groups | None
) -> tuple[Estimate[Float[np.ndarray, " layers"]], Float[np.ndarray, "permutations layers"]]:
    """Return the held-out accuracy of every layer with its null."""
    layers = residuals.shape[1]
    result, null = undefined(layers), np.full((permutations, layers), np.nan, dtype=np.float32)
    try:
        parts = splits.folds(labels, groups, FOLDS, seed)
    except UndefinedError:
        return result, null
    fold_of = np.zeros(len(labels), dtype=np.int64)
    for fold, (_, test) in enumerate(parts):
        fold_of[test] = fold
    sizes = metrics.class_sizes(labels, count)
    varying = metrics.varying(residuals)
    rotations = by_layer.measured(lambda layer: rotated(residuals[:, layer]), varying, residuals[:, 0].size)
    for layer, points in zip(varying, rotations, strict=True):
        recall = metrics.recalls(centroids.predictions(points, labels, fold_of, count), labels, count)
        result.put(layer, metrics.balanced_accuracy(recall), intervals.balanced_accuracy_interval(recall, sizes))
    null[:, varying] = centroids.null_recalls(rotations, labels, fold_of, count, permutations, seed).mean(axis=2)
    return result, null


@memoized(version=2)
def classes_of(query: ClassesQuery, lab: Lab) -> Classes:
    """Read the prompts with the checkpoint and measure its classes."""
    prompts = query.prompts
    readout = lab.part(0, 3).readout(query.checkpoint, prompts)
    residuals = readout.residuals
    if query.reference is not None:
        largest_of = lab.part(1, 3).readout(query.reference, prompts).residuals
        residuals = metrics.without_largest(residuals, largest_of, query.drop_largest)
    logits = readout.logits if query.checkpoint.facts.replies else None
    lab.progress(0.7, f"Permuting and resampling the texts in {query.checkpoint.label}.")
    count, seed = prompts.classes, query.seed
    return classes(residuals, logits, prompts.labels, count, query.draws, query.permutations, seed, prompts.groups)


@dataclass(frozen=True)
class LikenessQuery:
    """The checkpoint, and the reference whose largest dimensions are left out of both."""

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    prompts: Prompts
    drop_largest: int

    @property
    def cost(self) -> Cost:
        """The readouts and the kernels of every layer."""
        return cost_of_fields(self).with_fitting(LIKENESS_SECONDS * size(self.checkpoint, self.prompts))


@dataclass(frozen=True, eq=False)
class Likeness:
    """Debiased linear CKA of checkpoint and reference at every layer; NaN at layers without text in either."""

    cka: Estimate[Float[np.ndarray, " layers"]]


def likeness(residuals: Residuals, reference: Residuals, labels: Labels) -> Likeness:
    """Measure every layer, with the delete-one interval. UndefinedError for fewer than five reviews."""
    cka.enough(len(labels))
    result = undefined(residuals.shape[1])
    for layer in metrics.varying(residuals, reference):
        left = cka.cka(*(rotated(stream[:, layer].astype(np.float64)) for stream in (residuals, reference)))
        low, high = intervals.jackknife_interval(np.array(left.estimate), left.without, labels)
        result.put(layer, left.estimate, (low, np.minimum(high, 1.0)))
    return Likeness(result)


@memoized(version=1)
def likeness_of(query: LikenessQuery, lab: Lab) -> Likeness:
    """Read the prompts with both checkpoints and compare their layers."""
    reference = lab.part(0, 3).readout(query.reference, query.prompts).residuals
    residuals = lab.part(1, 3).readout(query.checkpoint, query.prompts).residuals
    lab.progress(0.7, f"Comparing the layers of {query.checkpoint.label} and {query.reference.label}.")
    return likeness(
        metrics.without_largest(residuals, reference, query.drop_largest),
        metrics.without_largest(reference, reference, query.drop_largest),
        query.prompts.labels,
    )
