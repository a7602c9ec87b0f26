"""How similar are the representations of a checkpoint and its reference at each layer? Cosine, CKA and Procrustes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

from backend.caching.memoize import memoized
from backend.lab.cost import Cost, cost_of_fields, size
from backend.lab.lab import Lab
from backend.stats import by_layer, intervals, metrics, resampling
from backend.stats import cka as measures
from backend.stats.estimate import Estimate, undefined
from backend.stats.metrics import Labels, Residuals
from backend.stats.rotation import rotated
from backend.stats.rows import chance, interval, point
from backend.study.checkpoint import PinnedCheckpoint
from backend.study.pinned import PinnedStudy
from backend.study.token_ids import Prompts

KEY = ("checkpoint", "reference", "layer")

Measure = Literal["cka", "procrustes", "cosine"]
MEASURES: tuple[Measure, ...] = ("cka", "procrustes", "cosine")
PerLayer = Float[np.ndarray, " layers"]


@dataclass(frozen=True)
class Query:
    """The checkpoint, and the reference that its reviews are paired with.

    `drop_largest` dimensions, those of largest mean |activation| in the reference, are left out at each layer.
    """

    checkpoint: PinnedCheckpoint
    reference: PinnedCheckpoint
    prompts: Prompts
    drop_largest: int = 0
    draws: int = 1000
    permutations: int = 50
    seed: int = 0

    @property
    def cost(self) -> Cost:
        """The readouts, the jackknife and the permutations, in at most as many dimensions as there are reviews."""
        width = self.checkpoint.facts.width
        rotated = min(width, len(self.prompts.token_ids))
        seconds = size(self.checkpoint, self.prompts) * rotated / width * (0.55 + 0.45 * rotated / 128)
        return cost_of_fields(self).with_fitting(seconds)


@dataclass(frozen=True, eq=False)
class Result:
    """Per layer, with 95 % intervals; NaN at layers without text in either model.

    `cosine` is the mean over reviews of the cosine between the two residuals of a review (-1..1), `cka` debiased linear
    CKA (about 0..1, 1 = the same up to rotation and scale), `procrustes` the disparity that remains after the best
    rotation and scale (0..1, 0 = the same). `*_chance`: reviews of the two models paired at random are more similar
    than that at some layer in 5 % of draws. `review_cosine` is the mean cosine between different reviews in the
    reference.
    """

    cosine: Estimate[PerLayer]
    cka: Estimate[PerLayer]
    procrustes: Estimate[PerLayer]
    review_cosine: PerLayer

    def alike(self, measure: Measure) -> Estimate[PerLayer]:
        """Return the measure with its chance level, larger for more similar: 1 - disparity for Procrustes."""
        if measure != "procrustes":
            return {"cosine": self.cosine, "cka": self.cka}[measure]
        turned = self.procrustes.map(lambda end: 1 - end)
        return replace(turned, low=turned.high, high=turned.low)

    def rows(self, query: Query) -> Iterator[dict[str, Any]]:
        """Yield one row per layer."""
        for layer in range(len(self.review_cosine)):
            row: dict[str, Any] = {
                "checkpoint": query.checkpoint.label,
                "reference": query.reference.label,
                "layer": layer,
            }
            for measure in ("cosine", "cka", "procrustes"):
                row |= interval(self, measure, layer) | chance(self, measure, layer)
            yield row | point(self, "review_cosine", layer)


def similarity(
    residuals: Residuals,
    reference: Residuals,
    labels: Labels,
    draws: int = 1000,
    permutations: int = 50,
    seed: int = 0,
    report: Callable[[float], None] = lambda _: None,
) -> Result:
    """Measure every layer; `report` receives the share done. UndefinedError for fewer than five reviews."""
    measures.enough(len(labels))
    layers, defined = residuals.shape[1], metrics.varying(residuals, reference)
    orders = resampling.permuted_labels(np.arange(len(labels)), permutations, seed)
    estimates = {name: undefined(layers) for name in MEASURES}
    levels = {name: np.full(layers, np.nan) for name in MEASURES}

    def measure(layer: int) -> dict[str, np.ndarray]:
        x, y = (stream[:, layer].astype(np.float64) for stream in (residuals, reference))
        null = {"cosine": measures.repaired_cosine(x, y, orders)}
        cosines = metrics.cosine(x, y)
        limits = intervals.mean_interval(cosines, labels, draws, seed)
        estimates["cosine"].put(layer, cosines.mean(), limits)
        x, y = rotated(x), rotated(y)
        null["cka"], disparities = measures.repaired(x, y, orders)
        null["procrustes"] = -disparities
        for name, left in (("cka", measures.cka(x, y)), ("procrustes", measures.procrustes(x, y))):
            limits = intervals.jackknife_interval(np.array(left.estimate), left.without, labels)
            estimates[name].put(layer, left.estimate, limits)
        return null

    nulls = by_layer.measured(measure, defined, 2 * residuals[:, 0].size, report)
    for name in MEASURES if nulls else ():
        sign = -1 if name == "procrustes" else 1
        levels[name][defined] = sign * _chance(np.stack([null[name] for null in nulls], axis=1))
    np.minimum(estimates["cka"].high, 1.0, out=estimates["cka"].high)
    np.maximum(estimates["procrustes"].low, 0.0, out=estimates["procrustes"].low)
    estimates = {name: replace(estimates[name], chance=levels[name]) for name in MEASURES}
    return Result(**estimates, review_cosine=metrics.review_cosine(reference))


def _chance(null: Float[np.ndarray, "draws layers"]) -> PerLayer:
    """Return the level that some layer of a re-paired curve exceeds in 5 % of draws."""
    middle = null.mean(axis=0)
    return middle + intervals.curve_chance(null - middle, 0.0)


def first_below(results: Sequence[Result], measure: Measure, level: float) -> Int[np.ndarray, " layers"]:
    """Return per layer the index of the first result whose whole interval lies below the level; -1: none."""
    below = np.stack([result.alike(measure).high < level for result in results])
    return np.where(below.any(axis=0), below.argmax(axis=0), -1)


@memoized(version=1)
def recipe(query: Query, lab: Lab) -> Result:
    """Read the prompts with both checkpoints and compare the layers."""
    reference = lab.part(0, 4).readout(query.reference, query.prompts).residuals
    residuals = lab.part(1, 4).readout(query.checkpoint, query.prompts).residuals
    sentence = f"Comparing the layers of {query.checkpoint.label} and {query.reference.label}."
    result = similarity(
        metrics.without_largest(residuals, reference, query.drop_largest),
        metrics.without_largest(reference, reference, query.drop_largest),
        query.prompts.labels,
        query.draws,
        query.permutations,
        query.seed,
        lambda share: lab.progress(0.5 + share / 2, sentence),
    )
    lab.progress(1.0, f"Compared the layers of {query.checkpoint.label} and {query.reference.label}.")
    return result


def queries(study: PinnedStudy, reference: str = "base") -> list[Query]:
    """Return a query for every checkpoint except the reference, then for every checkpoint of another seed and its twin.

    KeyError if no checkpoint has the label of the reference.
    """
    against = study.checkpoint(reference)
    pairs = [(checkpoint, against) for checkpoint in study.checkpoints if checkpoint != against]
    pairs += [pair for pair in study.seeds if pair not in pairs]
    return [Query(*pair, study.prompts) for pair in pairs]
