"""How far apart are the classes at each layer, and is it more than chance? The class direction d[l] and its size."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from jaxtyping import Float

from backend.caching.memoize import memoized
from backend.errors import UndefinedError
from backend.lab.cost import Cost, cost_of_fields, size
from backend.lab.lab import Lab
from backend.stats import by_layer, intervals, metrics, rotation
from backend.stats.estimate import Estimate
from backend.stats.metrics import PerLayer, Residuals
from backend.stats.rows import cell, chance, interval, of_class, point
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.kinds import UNLABELLED
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

KEY = ("checkpoint", "layer", "class")
NEEDS = "classes"

Rotated = Float[np.ndarray, "reviews layers rotated"]


@dataclass(frozen=True)
class Query:
    """The checkpoint and its reference (`base` in column names).

    `drop_largest` dimensions, those of largest mean |activation| in the reference, are left out at each layer.
    """

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    prompts: Prompts
    drop_largest: int = 0
    draws: int = 1000
    permutations: int = 1000
    splits: int = 50
    seed: int = 0

    def chance_of(self, checkpoint: PinnedCheckpoint) -> ChanceQuery:
        """Return the query of a checkpoint's chance level."""
        reference = self.reference if self.drop_largest else None
        return ChanceQuery(checkpoint, reference, self.prompts, self.drop_largest, self.permutations, self.seed)

    @property
    def cost(self) -> Cost:
        """The readouts, both chance levels, and the bootstrap."""
        steps = [chance_level.request(self.chance_of(each)) for each in (self.checkpoint, self.reference)]
        return cost_of_fields(self).with_fitting(0.22 * size(self.checkpoint, self.prompts), *steps)


@dataclass(frozen=True, eq=False)
class Result:
    """The class direction at every layer: one direction for two classes (1 - 0), else one per class. NaN = undefined.

    `norm` is the l2 norm of d, `norm_unbiased` the same without sampling noise, `relative` the norm over the mean l2
    norm of the residuals, `separation` the unbiased norm in units of within-class spread. `norm_low` to `norm_high`
    covers the norm of the population (95 %); the plain `norm`, which noise lengthens, may lie above it.
    `cosine_to_base` compares d with that of the reference on the same reviews, which inflates it, and
    `cosine_to_base_split` on different halves of them, NaN where either direction is no longer than chance. The
    `*_chance` arrays put one decision on every scale: without any signal, some layer of the curve lies above in 5 % of
    studies. `leaves_chance` is, per direction, the first layer from which all later ones lie above, -1 if there is
    none. `projections` is r[l] . d[l] / |d[l]| of every review, `class_projections` its mean per class, `mean_norm`
    the mean l2 norm of r[l], `review_cosine` the mean cosine between different reviews.
    """

    norm: Estimate[Float[np.ndarray, "directions layers"]]
    norm_unbiased: Estimate[Float[np.ndarray, "directions layers"]]
    relative: Estimate[Float[np.ndarray, "directions layers"]]
    separation: Estimate[Float[np.ndarray, "directions layers"]]
    cosine_to_base: Float[np.ndarray, "directions layers"]
    cosine_to_base_split: Estimate[Float[np.ndarray, "directions layers"]]
    mean_norm: Float[np.ndarray, " layers"]
    review_cosine: Float[np.ndarray, " layers"]
    projections: Float[np.ndarray, "reviews directions layers"]
    class_projections: Float[np.ndarray, "classes directions layers"]
    leaves_chance: tuple[int, ...]

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per layer, and per class if there are more than two."""
        directions, layers = self.norm.value.shape
        for layer in range(layers):
            for c in range(directions):
                yield {
                    "checkpoint": query.checkpoint.label,
                    "layer": layer,
                    **of_class(c, directions),
                    **interval(self, "norm", c, layer),
                    **interval(self, "norm_unbiased", c, layer),
                    "chance": chance(self, "norm", c, layer)["norm_chance"],
                    **interval(self, "relative", c, layer),
                    **interval(self, "separation", c, layer),
                    **point(self, "cosine_to_base", c, layer),
                    **interval(self, "cosine_to_base_split", c, layer),
                }

    def along(self, review: int, c: int = 0) -> Float[np.ndarray, " layers"]:
        """Return the place of a review along direction `c` at every layer: 0 and 1 are the means of the two classes.

        With more than two classes 1 is the mean of class `c`, and 0 that of the other class means.
        """
        means = self.class_projections[:, c]
        one_is = 1 if len(means) == 2 else c
        low = np.delete(means, one_is, axis=0).mean(axis=0)
        return metrics.ratio(self.projections[review, c] - low, means[one_is] - low)

    def review_rows(self, query: Query, review: int, index: int) -> Iterator[dict[str, Any]]:
        """Yield one review (its position and source row `index`) at every layer, and class if more than two."""
        directions, layers = self.norm.value.shape
        places = [self.along(review, c) for c in range(directions)]
        for layer in range(layers):
            for c in range(directions):
                yield {
                    "checkpoint": query.checkpoint.label,
                    "index": index,
                    "layer": layer,
                    **of_class(c, directions),
                    "projection": cell(self.projections[review, c, layer]),
                    "along": cell(places[c][layer]),
                }


def direction(
    residuals: Residuals,
    reference: Residuals,
    prompts: Prompts,
    chances: tuple[PerLayer, PerLayer],
    draws: int = 1000,
    splits: int = 50,
    seed: int = 0,
    report: Callable[[float], None] = lambda _: None,
) -> Result:
    """Measure the class direction at every layer; labels and copies of a text come from the prompts.

    `chances` are the chance levels of its norm and of that of the reference, from `intervals.chance`; `report`
    receives the share of layers done. UndefinedError if a class has no review.
    """

    def measure(layer: int) -> Result:
        at = slice(layer, layer + 1)
        levels = chances[0][:, at], chances[1][:, at]
        return _layer(residuals[:, at], reference[:, at], prompts, levels, draws, splits, seed)

    layers = range(residuals.shape[1])
    result = _joined(by_layer.measured(measure, layers, 2 * residuals[:, 0].size, report))
    curves = zip(result.norm.value, np.asarray(result.norm.chance), strict=True)
    leaves = (intervals.leaves_chance(values, level) for values, level in curves)
    return replace(result, leaves_chance=tuple(-1 if layer is None else layer for layer in leaves))


def _layer(
    residuals: Residuals,
    reference: Residuals,
    prompts: Prompts,
    chances: tuple[PerLayer, PerLayer],
    draws: int,
    splits: int,
    seed: int,
) -> Result:
    """Measure one layer: lengths and projections as they are, everything else on centred and rotated residuals."""
    labels, classes, groups = prompts.labels, prompts.classes, prompts.groups
    level, reference_level = chances
    own, other = _rotated(residuals, reference)
    norms = metrics.review_norms(residuals)
    size = norms.mean(axis=0)
    d, d_reference = (metrics.directions(model, labels, classes) for model in (own, other))
    norm = np.sqrt(metrics.squared_norm(d))
    spread = np.sqrt(metrics.within_class_variance(own, labels, classes))
    unbiased_level = intervals.unbiased_chance(level, metrics.noise(own, labels, classes))
    covers = intervals.direction_intervals(own, labels, classes, draws, seed, norms)
    separation = metrics.separation(own, labels, classes), *covers.separation
    split = metrics.split_cosine(other, own, labels, classes, splits, seed, groups)
    split_limits = intervals.split_cosine_interval(other, own, labels, classes, splits, seed, groups, split)
    clear = (norm > level) & (np.sqrt(metrics.squared_norm(d_reference)) > reference_level)
    along = metrics.directions(residuals, labels, classes)
    projections = metrics.ratio(np.einsum("rlw,clw->rcl", residuals, along), norm)
    return Result(
        norm=Estimate(norm, *covers.norm, level),
        norm_unbiased=Estimate(metrics.norm_unbiased(own, labels, classes), *covers.norm, unbiased_level),
        relative=Estimate(metrics.ratio(norm, size), *covers.relative, metrics.ratio(level, size)),
        separation=Estimate(*separation, metrics.ratio(unbiased_level, spread)),
        cosine_to_base=metrics.cosine(d, d_reference),
        cosine_to_base_split=Estimate(split, *split_limits).map(lambda end: np.where(clear, end, np.nan)),
        mean_norm=size,
        review_cosine=metrics.review_cosine(residuals),
        projections=projections,
        class_projections=np.stack([projections[labels == c].mean(axis=0) for c in range(classes)]),
        leaves_chance=(),
    )


def _rotated(residuals: Residuals, reference: Residuals) -> tuple[Rotated, Rotated]:
    """Centre and rotate both models alike; layers without text become zero."""
    models = [
        np.zeros_like(model[:, 0]) if metrics.constant_layers(model)[0] else model[:, 0]
        for model in (residuals, reference)
    ]
    own, other = rotation.jointly(*models)
    return own[:, None], other[:, None]


def _joined(layers: Sequence[Result]) -> Result:
    """Join the results of single layers along their last axis."""

    def join(values: Sequence[Any]) -> Any:
        if isinstance(values[0], Estimate):
            ends = [[getattr(value, end) for value in values] for end in ("value", "low", "high", "chance")]
            return Estimate(*(None if end[0] is None else np.concatenate(end, axis=-1) for end in ends))
        return np.concatenate(values, axis=-1) if isinstance(values[0], np.ndarray) else ()

    return Result(**{one.name: join([getattr(layer, one.name) for layer in layers]) for one in fields(Result)})


@dataclass(frozen=True)
class ChanceQuery:
    """The chance level of one checkpoint; separate, because a comparison needs the level of both.

    The largest dimensions of `reference` are left out; None keeps all.
    """

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint | None
    prompts: Prompts
    drop_largest: int
    permutations: int
    seed: int

    @property
    def cost(self) -> Cost:
        """The readouts and the permutations."""
        return cost_of_fields(self).with_fitting(0.05 * size(self.checkpoint, self.prompts))


@dataclass(frozen=True, eq=False)
class Chance:
    """The norm that permuted labels exceed at some layer in 5 % of permutations, per layer."""

    threshold: Float[np.ndarray, "directions layers"]


@memoized(version=1)
def chance_level(query: ChanceQuery, lab: Lab) -> Chance:
    """Compute the chance level from permuted labels."""
    lab.progress(0.0, f"Permuting the labels of {query.checkpoint.label} {query.permutations:,} times.")
    labels, classes = query.prompts.labels, query.prompts.classes
    residuals = lab.part(0, 3).readout(query.checkpoint, query.prompts).residuals
    if query.reference is not None:
        largest_of = lab.part(1, 3).readout(query.reference, query.prompts).residuals
        residuals = metrics.without_largest(residuals, largest_of, query.drop_largest)
    return Chance(intervals.chance(residuals, labels, classes, query.permutations, query.seed))


@memoized(version=2)
def recipe(query: Query, lab: Lab) -> Result:
    """Read the prompts with both checkpoints, compute both chance levels, then measure."""
    if query.prompts.classes < 2:
        raise UndefinedError(UNLABELLED)
    reference = lab.part(0, 5).readout(query.reference, query.prompts).residuals
    residuals = lab.part(1, 5).readout(query.checkpoint, query.prompts).residuals
    chances = (
        chance_level(query.chance_of(query.checkpoint), lab.part(2, 5)).threshold,
        chance_level(query.chance_of(query.reference), lab.part(3, 5)).threshold,
    )
    sentence = f"Resampling the class direction of {query.checkpoint.label} {query.draws:,} times."
    lab.progress(0.8, sentence)
    result = direction(
        metrics.without_largest(residuals, reference, query.drop_largest),
        metrics.without_largest(reference, reference, query.drop_largest),
        query.prompts,
        chances,
        query.draws,
        query.splits,
        query.seed,
        lambda share: lab.progress(0.8 + 0.2 * share, sentence),
    )
    lab.progress(1.0, f"Measured the class direction of {query.checkpoint.label}.")
    return result


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query for every checkpoint; KeyError if no checkpoint has the label of the reference."""
    if study.lacks("classes"):
        return []
    against = study.checkpoint(reference)
    return [Query(checkpoint, against, study.prompts) for checkpoint in study.checkpoints]
