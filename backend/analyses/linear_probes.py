"""Can any linear readout find the class in the residuals? A cross-validated logistic regression per layer.

Stratified five-fold. Inside each training fold the features are standardized and C is chosen by an inner three-fold
(log loss), so the tested reviews influence nothing. Copies of a text are in one fold. The folds depend on labels,
copies and seed only: a probe fitted on one checkpoint is tested on another's residuals of reviews that it was not
fitted on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy
from jaxtyping import Float, Int

from backend.caching.memoize import memoized
from backend.errors import UndefinedError
from backend.lab.cost import Cost, cost_of_fields
from backend.lab.lab import Lab
from backend.stats import by_layer, intervals, metrics, probe_fits, resampling, splits
from backend.stats.estimate import Estimate, stacked
from backend.stats.rows import interval
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.kinds import UNLABELLED
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

KEY = ("checkpoint", "layer")
NEEDS = "classes"

FOLDS, INNER_FOLDS = 5, 3
FEWEST = 4
"""Minimum number of different texts per class."""
C_GRID = (1e-4, 3e-3, 1e-1, 3.0)
Features = Float[np.ndarray, "reviews width"]


@dataclass(frozen=True)
class Query:
    """The checkpoint, and the reference (`base` in column names) to and from which probes are transferred."""

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    prompts: Prompts
    seed: int = 0

    @property
    def fits(self) -> tuple[FitQuery, ...]:
        """The queries of both checkpoints' probes."""
        return tuple(FitQuery(each, self.prompts, self.seed) for each in (self.checkpoint, self.reference))

    @property
    def cost(self) -> Cost:
        """The readouts, the probes of both checkpoints, and the baselines, which are like half a layer."""
        seconds = fit_seconds(self.checkpoint, self.prompts) / 2
        opening = replace(cost_of_fields(self), passes=((self.checkpoint, 0),))
        return opening.with_fitting(seconds, *map(fitted.request, dict.fromkeys(self.fits)))


@dataclass(frozen=True, eq=False)
class Result:
    """Held-out accuracy, the mean of the recalls, 0..1; for classes of equal size the share answered correctly.

    `from_base` is the reference's probe on this checkpoint's residuals, `to_base` this checkpoint's on the reference's;
    `shuffled_accuracy` that of probes fitted and tested on labels in random order, `length_accuracy` from the prompt's
    length alone and `embedding_accuracy` from the mean of its token embeddings, with the same folds. Intervals are
    95 %: every review is predicted once, by a probe that did not see it, so recalls are proportions of reviews (Wilson,
    MOVER); they say how well these five probes do on more reviews, and are somewhat too narrow, because the reviews
    of a fold share a probe (docs/analyses/linear_probes.md has the coverage). `chosen` is the C of each fold. NaN at
    layers where all reviews are alike.
    """

    accuracy: Estimate[Float[np.ndarray, " layers"]]
    shuffled_accuracy: Estimate[Float[np.ndarray, " layers"]]
    from_base: Estimate[Float[np.ndarray, " layers"]]
    to_base: Estimate[Float[np.ndarray, " layers"]]
    length_accuracy: Estimate[float]
    embedding_accuracy: Estimate[float]
    prediction: Int[np.ndarray, "layers reviews"]
    chosen: Float[np.ndarray, "layers folds"]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per layer; the baselines, which have no layer, repeat."""
        for layer in range(len(self.prediction)):
            yield {
                "checkpoint": query.checkpoint.label,
                "layer": layer,
                **interval(self, "accuracy", layer),
                **interval(self, "shuffled_accuracy", layer),
                **interval(self, "from_base", layer),
                **interval(self, "to_base", layer),
                **interval(self, "length_accuracy"),
                **interval(self, "embedding_accuracy"),
            }


@dataclass(frozen=True, eq=False)
class Probe:
    """The probes of the folds as they read raw features: logits of class c are `weights[f, c] . x + offsets[f, c]`."""

    weights: Float[np.ndarray, "folds classes width"]
    offsets: Float[np.ndarray, "folds classes"]
    chosen: Float[np.ndarray, " folds"]

    def predict(self, features: Features, fold_of: Int[np.ndarray, " reviews"]) -> Int[np.ndarray, " reviews"]:
        """Predict each review's class with the probe that was fitted on the other folds."""
        logits = np.empty((len(features), self.weights.shape[1]))
        for fold, (weights, offsets) in enumerate(zip(self.weights, self.offsets, strict=True)):
            logits[fold_of == fold] = features[fold_of == fold] @ weights.T + offsets
        return metrics.predictions(logits)


def too_few(labels: metrics.Labels, groups: splits.Groups | None) -> str | None:
    """Return that a class has too few different texts for probes; None if all have enough."""
    smallest = splits.fewest(labels, groups)
    if smallest >= FEWEST:
        return None
    return f"A linear probe needs {FEWEST} different texts of each class and one has {smallest}; raise dataset.sample."


def folds(labels: metrics.Labels, seed: int, groups: splits.Groups | None = None) -> Int[np.ndarray, " reviews"]:
    """Return the test fold of each review; UndefinedError if a class has too few different texts."""
    if said := too_few(labels, groups):
        raise UndefinedError(said)
    fold_of = np.zeros(len(labels), dtype=np.int64)
    for fold, (_, test) in enumerate(splits.folds(labels, groups, FOLDS, seed)):
        fold_of[test] = fold
    return fold_of


def fit(
    features: Features,
    labels: metrics.Labels,
    fold_of: Int[np.ndarray, " reviews"],
    seed: int,
    groups: splits.Groups | None = None,
) -> Probe:
    """Fit one probe per fold, on the reviews of the other folds."""
    folds = [_nested(np.flatnonzero(fold_of != fold), labels, seed, groups) for fold in range(fold_of.max() + 1)]
    weights, offsets, chosen = [], [], []
    for fold, fits in zip(folds, probe_fits.fits(features, labels, folds), strict=True):
        losses = np.zeros(len(C_GRID))
        for (_, test), logits in zip(fold.inner, fits.held_out(C_GRID), strict=True):
            losses -= scipy.special.log_softmax(logits, axis=2)[:, np.arange(len(test)), labels[test]].mean(axis=1)
        best = C_GRID[int(losses.argmin())]
        w, b = fits.weights(best)
        weights.append(w)
        offsets.append(b)
        chosen.append(best)
    return Probe(np.stack(weights), np.stack(offsets), np.array(chosen))


def _nested(
    others: Int[np.ndarray, " _"], labels: metrics.Labels, seed: int, groups: splits.Groups | None
) -> probe_fits.Fold:
    """Split a training part into inner folds, which choose C."""
    inner = splits.folds(labels[others], None if groups is None else groups[others], INNER_FOLDS, seed)
    return probe_fits.Fold(others, tuple((others[train], others[test]) for train, test in inner))


def fit_seconds(checkpoint: PinnedCheckpoint, prompts: Prompts) -> float:
    """Return roughly the seconds of one layer on the reference machine; a step of Newton's method is cubic."""
    reviews = len(prompts.token_ids)
    dimensions = min(reviews, checkpoint.facts.width) * max(1, prompts.classes - 1)
    return 0.55 * (dimensions / 128) ** 2 * reviews / 256


@dataclass(frozen=True)
class FitQuery:
    """The probes of one checkpoint; separate, because every comparison needs those of both."""

    checkpoint: PinnedCheckpoint
    prompts: Prompts
    seed: int

    @property
    def cost(self) -> Cost:
        """The readout, and the probes of every layer on both labels."""
        seconds = self.checkpoint.facts.layers * fit_seconds(self.checkpoint, self.prompts)
        return cost_of_fields(self).with_fitting(seconds)


@dataclass(frozen=True, eq=False)
class Fitted:
    """The probes of every layer (zero at constant layers), and the predictions for shuffled labels."""

    weights: Float[np.ndarray, "layers folds classes width"]
    offsets: Float[np.ndarray, "layers folds classes"]
    chosen: Float[np.ndarray, "layers folds"]
    shuffled: Int[np.ndarray, " reviews"]
    shuffled_prediction: Int[np.ndarray, "layers reviews"]

    def predict(
        self, residuals: metrics.Residuals, fold_of: Int[np.ndarray, " reviews"]
    ) -> Int[np.ndarray, "layers reviews"]:
        """Predict the class of every review at each layer with the probe of its fold."""
        probes = (Probe(*parts) for parts in zip(self.weights, self.offsets, self.chosen, strict=True))
        return np.stack([probe.predict(residuals[:, layer], fold_of) for layer, probe in enumerate(probes)])


@memoized(version=1)
def fitted(query: FitQuery, lab: Lab) -> Fitted:
    """Fit the probes of every layer, on the labels and on shuffled ones."""
    labels, classes, groups = query.prompts.labels, query.prompts.classes, query.prompts.groups
    residuals = lab.part(0, 4).readout(query.checkpoint, query.prompts).residuals
    layers, width = residuals.shape[1:]
    shuffled = resampling.permuted_labels(labels, 1, query.seed)[0]
    fold_of, shuffled_fold_of = folds(labels, query.seed, groups), folds(shuffled, query.seed, groups)
    count = fold_of.max() + 1
    weights, offsets = np.zeros((layers, count, classes, width)), np.zeros((layers, count, classes))
    chosen, predicted = np.full((layers, count), np.nan), np.zeros((layers, len(labels)), dtype=np.int64)

    def measure(layer: int) -> None:
        x = residuals[:, layer].astype(np.float64)
        probe = fit(x, labels, fold_of, query.seed, groups)
        weights[layer], offsets[layer], chosen[layer] = probe.weights, probe.offsets, probe.chosen
        predicted[layer] = fit(x, shuffled, shuffled_fold_of, query.seed, groups).predict(x, shuffled_fold_of)

    def report(share: float) -> None:
        done = round(share * (layers - 1))
        sentence = f"Fitting linear probes of {query.checkpoint.label}: layer {done} of {layers - 1}."
        lab.progress(0.25 + 0.75 * share, sentence)

    by_layer.measured(measure, metrics.varying(residuals), 2 * residuals[:, 0].size, report)
    return Fitted(weights, offsets, chosen, shuffled, predicted)


def _measured(predicted: metrics.Labels, labels: metrics.Labels, classes: int) -> Estimate[float]:
    """Return the mean recall of held-out predictions with its interval."""
    recall = metrics.recalls(predicted, labels, classes)
    limits = intervals.balanced_accuracy_interval(recall, metrics.class_sizes(labels, classes))
    return Estimate(metrics.balanced_accuracy(recall), *limits)


def _by_layer(
    predicted: Int[np.ndarray, "layers reviews"], labels: metrics.Labels, classes: int, defined: np.ndarray
) -> Estimate[Float[np.ndarray, " layers"]]:
    """Return the accuracy of every layer; NaN at layers without text."""
    curve = stacked([_measured(of_layer, labels, classes) for of_layer in predicted])
    return curve.map(lambda end: np.where(defined, end, np.nan))


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Fit the probes of both checkpoints, test each on both, and fit the baselines."""
    if query.prompts.classes < 2:
        raise UndefinedError(UNLABELLED)
    prompts, checkpoint, other = query.prompts, query.checkpoint, query.reference
    labels, classes, groups = prompts.labels, prompts.classes, prompts.groups
    fold_of = folds(labels, query.seed, groups)
    own, theirs = (fitted(each, lab.part(i, 3)) for i, each in enumerate(query.fits))
    residuals, reference = lab.part(4, 6).readouts((checkpoint, other), prompts)
    lab.progress(0.85, f"Fitting on the lengths and on the token embeddings of {checkpoint.label}.")
    here, there = (~metrics.constant_layers(each.residuals) for each in (residuals, reference))
    prediction = own.predict(residuals.residuals, fold_of)
    shuffled = _by_layer(own.shuffled_prediction, own.shuffled, classes, here)
    from_base = _by_layer(theirs.predict(residuals.residuals, fold_of), labels, classes, here & there)
    to_base = _by_layer(own.predict(reference.residuals, fold_of), labels, classes, here & there)
    rows = lab.models.embedding(checkpoint, "input", lab.part(5, 6).progress).rows
    seen = prompts.seen_by(checkpoint)
    bags = np.stack([rows[list(ids)].mean(axis=0) for ids in seen.token_ids])
    length, embedding = (
        _measured(fit(x, labels, fold_of, query.seed, groups).predict(x, fold_of), labels, classes)
        for x in (seen.lengths[:, None].astype(np.float64), bags)
    )
    lab.progress(1.0, f"Fitted the linear probes of {checkpoint.label}.")
    return Result(
        accuracy=_by_layer(prediction, labels, classes, here),
        shuffled_accuracy=shuffled,
        from_base=from_base,
        to_base=to_base,
        length_accuracy=length,
        embedding_accuracy=embedding,
        prediction=prediction,
        chosen=own.chosen,
    )


def lacking(study: PinnedStudy, reference: str) -> str | None:
    """Return that a class has too few texts; None if all have enough."""
    study.checkpoint(reference)
    return too_few(study.prompts.labels, study.prompts.groups)


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query for every checkpoint, none if a class has too few texts; KeyError for an unknown label."""
    if study.lacks("classes"):
        return []
    against = study.checkpoint(reference)
    if too_few(study.prompts.labels, study.prompts.groups):
        return []
    return [Query(checkpoint, against, study.prompts) for checkpoint in study.checkpoints]
